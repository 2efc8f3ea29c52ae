//! Data sets: how they are made, and parts of them.

use std::collections::BTreeSet;

use gatefold::data::Inputs;
use gatefold::train::{Adam, Loss, Trainer, gradients};
use gatefold::{Array, Dataset, Device, Forecaster, LstmConfig, Result};

fn array(data: &[f32], shape: &[usize]) -> Array {
    Array::new(data.to_vec(), shape).unwrap()
}

fn refused<T>(result: Result<T>) -> String {
    result.err().expect("it is refused").to_string()
}

#[test]
fn sequences_are_padded() {
    let x = vec![vec![[1.0, 2.0], [3.0, 4.0]], vec![[5.0, 6.0]], vec![]];
    let data = Dataset::from_sequences(&x, [2usize, 0, 1]).unwrap();
    let padded = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0];
    assert_eq!(data.x(), &array(&padded, &[3, 2, 2]));
    assert_eq!(data.y(), &array(&[2.0, 0.0, 1.0], &[3]));
    assert_eq!((data.lengths(), data.weights()), (Some(&[2, 1, 0][..]), None));
    assert!(!data.is_right_aligned());

    // Tokens, and a class for each; numbers, and numbers for each.
    let tokens = [vec![3u8, 1, 4], vec![1]];
    let data = Dataset::from_sequences(&tokens, [vec![1, 0, -100], vec![2]]).unwrap();
    assert_eq!(data.x(), &array(&[3.0, 1.0, 4.0, 1.0, 0.0, 0.0], &[2, 3]));
    assert_eq!(data.y(), &array(&[1.0, 0.0, -100.0, 2.0, 0.0, 0.0], &[2, 3]));
    let series = [vec![0.5, 0.7], vec![0.1, 0.2]];
    let data = Dataset::from_sequences(&series, [vec![[1.0; 3]; 2], vec![[2.0; 3]; 2]]).unwrap();
    assert_eq!((data.x().shape(), data.y().shape()), (&[2, 2, 1][..], &[2, 2, 3][..]));
    assert_eq!(data.lengths(), None, "all are as long");
    let data = Dataset::from_sequences(&series, [0.5, 0.7]).unwrap();
    assert_eq!(data.y().shape(), [2, 1]);
    let data = Dataset::from_sequences(&series, [[0.5, 0.7]; 2]).unwrap();
    assert_eq!(data.y().shape(), [2, 2]);
    let arrays = [array(&[1.0; 6], &[3, 2]), array(&[2.0; 2], &[1, 2])];
    let data = Dataset::from_sequences(&arrays, [0, 1]).unwrap();
    assert_eq!((data.x().shape(), data.lengths()), (&[2, 3, 2][..], Some(&[3, 1][..])));
}

#[test]
fn sequences_that_dont_fit_are_named() {
    let x = || [array(&[1.0; 6], &[3, 2]), array(&[2.0; 2], &[1, 2])];
    let none: [Vec<f32>; 0] = [];
    for (said, names) in [
        (refused(Dataset::from_sequences(none, [0; 0])), "at least one"),
        (refused(Dataset::from_sequences([vec![0.0f32; 0]], [0])), "with a timestep"),
        (refused(Dataset::from_sequences(x(), [0])), "targets must be 2"),
        (
            refused(Dataset::from_sequences(
                [array(&[1.0; 6], &[3, 2]), array(&[1.0; 3], &[1, 3])],
                [0, 1],
            )),
            "sequence 1",
        ),
        (refused(Dataset::from_sequences([array(&[1.0], &[1, 1, 1])], [0])), "sequence 0"),
        (refused(Dataset::from_sequences(x(), [vec![0, 1, 0], vec![1, 1]])), "target 1"),
        (
            refused(Dataset::from_sequences(x(), [array(&[1.0], &[1]), array(&[1.0; 2], &[2])])),
            "target 1",
        ),
        (refused(Dataset::from_sequences(x(), [0, 16_777_217])), "16777217"),
        (
            refused(Dataset::from_sequences([vec![1, 1 << 24], vec![(1u64 << 40) + 1]], [0, 1])),
            "sequence 1, element 0",
        ),
    ] {
        assert!(said.contains(names), "{names}: {said}");
    }
}

/// Integers in, integers out, and none that `f32` doesn't hold.
#[test]
fn classes_are_integers() {
    let x = array(&[0.1, 0.5, 0.9, 0.4, 0.2, 0.7], &[3, 2, 1]);
    let data = Dataset::new(&x, vec![0usize, 2, 1]).unwrap();
    assert_eq!(data, Dataset::new(x.clone(), array(&[0.0, 2.0, 1.0], &[3])).unwrap());
    let same = Array::integers(vec![0, 2, 1], &[3]).unwrap();
    assert_eq!(data, Dataset::new(&x, same).unwrap());
    for wrong in [Dataset::new(&x, [0, 1, 16_777_217]), Dataset::new(&x, [0, 1, usize::MAX as u64])]
    {
        let said = refused(wrong);
        assert!(said.contains("y, element 2") && said.contains("f32"), "{said}");
    }
    assert!(Dataset::new(&x, [0, 1, 16_777_218u32]).is_ok(), "f32 holds it");
    assert!(Dataset::new(&x, [0, 1, i64::MIN]).is_ok(), "f32 holds it");
    let far = Dataset::new(&x, [0, 1, 3]).unwrap();

    let device = Device::cpu();
    let model = Forecaster::new(&device, LstmConfig::new(1, 4), 3).unwrap();
    assert!(refused(gradients(&model, &far, &Loss::cross_entropy())).contains("0 to 2"));
    let mut trainer = Trainer::new(model, Loss::cross_entropy(), Adam::new(0.1));
    trainer.fit(&data, None, |_| ()).unwrap();
    let found: Array<u32> = trainer.model().classes(&data).unwrap();
    assert_eq!((found.shape(), found.data()), (&[3][..], &[0, 2, 1][..]));

    // Tokens as well.
    let tokens = Array::integers(vec![3, 1, 4, 1], &[2, 2]).unwrap();
    let model = Forecaster::new(&device, LstmConfig::new(3, 4).embedding(5), 2).unwrap();
    let want = model.predict(&array(&[3.0, 1.0, 4.0, 1.0], &[2, 2])).unwrap();
    assert_eq!(model.predict(&tokens).unwrap(), want);
    assert_eq!(model.predict(&Dataset::new(&tokens, [0, 1]).unwrap()).unwrap(), want);
    let shorter = model.predict((&tokens, &[2, 1])).unwrap();
    let padded = Inputs::from_sequences([vec![3, 1], vec![4]]).unwrap();
    assert_eq!(model.predict(padded).unwrap(), shorter);
    assert_ne!(shorter, want);
    let wrong = Array::integers(vec![16_777_217], &[1, 1]).unwrap();
    assert!(refused(model.predict(&wrong)).contains("16777217"));
    let wrong = Array::integers(vec![5], &[1, 1]).unwrap();
    assert!(refused(model.predict(&wrong)).contains("from 0 to 4"));
}

/// Ten sequences that are told apart by everything that they have.
fn ten() -> Dataset {
    let x = array(&(0..60).map(|i| i as f32).collect::<Vec<_>>(), &[10, 3, 2]);
    let data = Dataset::new(x, (0..10).collect::<Vec<i32>>()).unwrap();
    let weights: Vec<f32> = (0..10).map(|i| if i < 4 { 1.0 } else { 2.0 }).collect();
    data.with_weights(array(&weights, &[10]))
        .unwrap()
        .right_aligned(&[3, 2, 1, 0, 3, 2, 1, 0, 3, 2])
        .unwrap()
}

#[test]
fn parts_have_what_they_had() {
    let data = ten();
    let some = data.subset(&[7, 2, 2]).unwrap();
    assert_eq!(some.y(), &array(&[7.0, 2.0, 2.0], &[3]));
    assert_eq!(some.x().data()[..6], data.x().data()[42..48]);
    assert_eq!((some.lengths(), some.is_right_aligned()), (Some(&[0, 1, 1][..]), true));
    assert_eq!(some.weights(), Some(&array(&[2.0, 1.0, 1.0], &[3])));
    assert_eq!(data.subset(&[0, 3]).unwrap().weights(), None, "all of them are 1");
    for rows in [&[][..], &[10], &[0, usize::MAX]] {
        assert!(data.subset(rows).is_err());
    }

    let (first, others) = data.split_at(7).unwrap();
    assert_eq!(first, data.subset(&[0, 1, 2, 3, 4, 5, 6]).unwrap());
    assert_eq!(others, data.subset(&[7, 8, 9]).unwrap());
    assert!(data.split_at(0).is_err() && data.split_at(10).is_err());
    let [a, b, c] = data.split([0.6, 0.2, 0.2]).unwrap();
    assert_eq!((a.len(), b, c), (6, data.subset(&[6, 7]).unwrap(), data.subset(&[8, 9]).unwrap()));
    for (shares, names) in
        [([0.5, 0.4], "sum 1"), ([1.0, 0.0], "share 1"), ([f64::NAN, 1.0], "at least 0")]
    {
        let said = refused(data.split(shares));
        assert!(said.contains(names), "{said}");
    }

    let shuffled = data.shuffled(3);
    assert_eq!(shuffled, data.shuffled(3));
    assert!(shuffled != data && shuffled != data.shuffled(4));
    let classes: BTreeSet<i32> = shuffled.y().data().iter().map(|&class| class as i32).collect();
    assert_eq!(classes, (0..10).collect());
    let order: Vec<usize> = shuffled.y().data().iter().map(|&class| class as usize).collect();
    assert_eq!(shuffled, data.subset(&order).unwrap());
}
