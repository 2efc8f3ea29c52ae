//! Initial values.

use gatefold::{Array, Bias, Device, Error, Init, Lstm, LstmConfig};

fn tensor(config: LstmConfig, name: &str) -> Vec<f32> {
    let dict = Lstm::new(&Device::cpu(), config).unwrap().state_dict().unwrap();
    dict.into_iter().find(|(n, _)| n == name).unwrap().1.into_data()
}

#[test]
fn the_default_is_pytorchs() {
    let config = LstmConfig::new(30, 25).seed(1);
    for name in ["weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"] {
        let values = tensor(config.clone(), name);
        let largest = values.iter().fold(0.0f32, |m, v| m.max(v.abs()));
        assert!(largest <= 0.2 && largest > 0.15, "{name}: {largest}");
    }
    assert_eq!(tensor(config.clone(), "weight_ih_l0"), tensor(config.clone(), "weight_ih_l0"));
    assert_ne!(tensor(config.clone(), "weight_ih_l0"), tensor(config.seed(2), "weight_ih_l0"));
}

#[test]
fn each_tensor_has_its_own() {
    let config = LstmConfig::new(20, 16)
        .init("weight", Init::XavierUniform)
        .init("weight_hh", Init::Orthogonal)
        .init("bias", Init::Normal { mean: 3.0, std: 0.1 })
        .init("bias_hh", Init::Zeros)
        .forget_bias(1.0);
    let bound = (6.0f32 / (64.0 + 20.0)).sqrt();
    assert!(tensor(config.clone(), "weight_ih_l0").iter().all(|v| v.abs() <= bound));

    // Orthonormal columns: W^T W is the identity.
    let w = tensor(config.clone(), "weight_hh_l0");
    for a in 0..16 {
        for b in 0..16 {
            let dot: f32 = (0..64).map(|row| w[row * 16 + a] * w[row * 16 + b]).sum();
            approx::assert_abs_diff_eq!(dot, if a == b { 1.0 } else { 0.0 }, epsilon = 1e-5);
        }
    }

    let (b_ih, b_hh) = (tensor(config.clone(), "bias_ih_l0"), tensor(config, "bias_hh_l0"));
    assert_eq!(b_ih[16..32], [1.0; 16]);
    assert!(b_ih[..16].iter().all(|v| (v - 3.0).abs() < 1.0));
    assert_eq!(b_hh, [0.0; 64]);
}

#[test]
fn what_matches_nothing_is_refused() {
    let refused = |config| matches!(Lstm::new(&Device::cpu(), config), Err(Error::Value { .. }));
    assert!(refused(LstmConfig::new(1, 1).init("wieght", Init::Zeros)));
    assert!(refused(LstmConfig::new(1, 1).bias(Bias::None).init("bias", Init::Zeros)));
    assert!(refused(LstmConfig::new(1, 1).bias(Bias::None).forget_bias(1.0)));
    assert!(refused(LstmConfig::new(1, 1).init("weight", Init::Normal { mean: 0.0, std: -1.0 })));
    assert!(refused(LstmConfig::new(1, 1).init("weight", Init::Uniform { bound: f32::NAN })));
}

#[test]
fn arrays_know_their_shape() {
    assert!(matches!(Array::new(vec![0.0; 5], &[2, 3]), Err(Error::Shape { .. })));
    assert!(matches!(Array::new(vec![], &[0, 3]), Err(Error::Value { .. })));
    assert!(matches!(Array::new(vec![], &[usize::MAX, 3]), Err(Error::Overflow { .. })));
}
