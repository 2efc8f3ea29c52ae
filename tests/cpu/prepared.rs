//! Weights in panels, which are packed again once they have changed and only then.

use std::sync::Arc;

use gatefold::plan::{Head, Plan, Sequences, StackShape};
use gatefold::{Device, Lstm, LstmConfig, Session, Tensor};

use crate::common::random::normal;

fn shape() -> StackShape {
    StackShape { head: Head::Linear(3), bidirectional: true, ..StackShape::lstm(5, 20) }
}

fn session(device: &Device) -> (Session, usize, usize) {
    let plan = Plan::forward(&shape(), &Sequences::new(7, 8), &device.limits()).unwrap();
    let (params, prepare) = (plan.program.buffer("params").unwrap(), plan.program.prepare);
    let len = plan.program.spec(params).len;
    let session = device.session(&Arc::clone(&plan.program)).unwrap();
    session.write("x", &normal(7 * 8 * 5, 1.0, 1)).unwrap();
    (session, len, prepare)
}

#[test]
fn weights_are_packed_when_they_change() {
    let device = Device::cpu();
    let (session, len, prepare) = session(&device);
    assert!(prepare > 0);
    let all = session.program().dispatches().count() as u64;
    let run = |params: Option<u64>| {
        if let Some(seed) = params {
            session.write("params", &normal(len, 0.3, seed)).unwrap();
        }
        let before = device.counts().dispatches;
        session.run().unwrap();
        (session.read("y").unwrap(), device.counts().dispatches - before)
    };
    let (first, launches) = run(Some(2));
    assert_eq!(launches, all);
    assert_eq!(run(None), (first.clone(), all - prepare as u64));
    let (second, launches) = run(Some(3));
    assert_ne!(first, second);
    assert_eq!(launches, all);
    // As where nothing was packed before.
    let (fresh, ..) = self::session(&device);
    fresh.write("params", &normal(len, 0.3, 3)).unwrap();
    fresh.run().unwrap();
    assert_eq!(fresh.read("y").unwrap(), second);
    assert_eq!(run(Some(2)), (first, all));
}

#[test]
fn what_was_packed_is_packed_again_where_somebody_has_written_it() {
    let device = Device::cpu();
    let (session, len, _) = session(&device);
    session.write("params", &normal(len, 0.3, 2)).unwrap();
    session.run().unwrap();
    let want = session.read("y").unwrap();
    let packed = session.program().buffers.iter().find(|b| b.name.starts_with("packed")).unwrap();
    session.write(&packed.name, &vec![7.0; packed.len]).unwrap();
    session.run().unwrap();
    assert_eq!(session.read("y").unwrap(), want);
}

/// Plans of several sizes share the buffers of a model's workspace.
#[test]
fn sizes_share_what_is_packed() {
    let device = Device::cpu();
    let models: Vec<Lstm> =
        (1..3).map(|seed| Lstm::new(&device, LstmConfig::new(3, 24).seed(seed)).unwrap()).collect();
    let mut shared = Lstm::new(&device, LstmConfig::new(3, 24)).unwrap();
    for round in 0..4 {
        let model = &models[round % 2];
        shared.load_state_dict(&model.state_dict().unwrap()).unwrap();
        for (steps, batch) in [(4, 8), (9, 1), (9, 8), (1, 2), (4, 8)] {
            let x = normal(steps * batch * 3, 1.0, 4);
            let x = Tensor::from_slice(&device, &x, &[steps, batch, 3]).unwrap();
            let y = |lstm: &Lstm| lstm.forward(&x, None).unwrap().0.to_vec().unwrap();
            assert_eq!(y(&shared), y(model), "{steps} timesteps of {batch} rows");
        }
    }
}
