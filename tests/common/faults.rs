//! What becomes of work where memory is short.

use gatefold::command::Executor;
use gatefold::train::{Adam, Loss, Trainer};
use gatefold::{Array, Dataset, Device, Error, Forecaster, LstmConfig, Tensor};

use super::random::normal;

/// A budget that ends with the check.
pub struct Budget<'a>(&'a Device);

impl<'a> Budget<'a> {
    pub fn of(device: &'a Device, bytes: u64) -> Budget<'a> {
        device.set_memory_budget(Some(bytes));
        assert_eq!(device.memory_budget(), Some(bytes));
        Budget(device)
    }
}

impl Drop for Budget<'_> {
    fn drop(&mut self) {
        self.0.set_memory_budget(None);
    }
}

fn data(rows: usize, seed: u64) -> Dataset {
    let x = Array::new(normal(rows * 10 * 2, 1.0, seed), &[rows, 10, 2]).unwrap();
    Dataset::new(x, Array::new(normal(rows * 10, 1.0, seed + 1), &[rows, 10, 1]).unwrap()).unwrap()
}

fn trainer(device: &Device, batch_size: usize) -> Trainer {
    let config = LstmConfig::new(2, 12).layers(2).dropout(0.2).seed(1);
    let model = Forecaster::every_step(device, config, 1).unwrap();
    Trainer::new(model, Loss::mse(), Adam::new(0.02)).batch_size(batch_size).epochs(2).shuffle(2)
}

fn bits(trainer: &Trainer) -> Vec<Vec<u32>> {
    let dict = trainer.model().state_dict().unwrap();
    dict.iter().map(|(_, array)| array.data().iter().map(|v| v.to_bits()).collect()).collect()
}

fn parameters(trainer: &Trainer) -> u64 {
    bits(trainer).iter().map(|tensor| tensor.len() as u64).sum()
}

fn exhausted<T: std::fmt::Debug>(result: Result<T, Error>) {
    match result {
        Err(error @ Error::OutOfMemory { .. }) => {
            let said = error.to_string();
            assert!(said.contains("creating buffer `") && said.contains("its budget of"), "{said}");
            assert!(said.contains("smaller batch"), "{said}");
        }
        other => panic!("not out of memory: {other:?}"),
    }
}

/// Bytes of what the device holds, without what a GPU keeps for its next read: an allocation that is
/// refused gives that up.
pub fn held(device: &Device) -> u64 {
    let budget = device.memory_budget();
    device.set_memory_budget(Some(0));
    exhausted(Tensor::zeros(device, &[1]).map(|_| ()));
    device.set_memory_budget(budget);
    device.allocated_bytes()
}

/// Bytes that reading a little wants.
fn staging(device: &Device) -> u64 {
    match device.limits().executor {
        Executor::Gpu => 64 << 10,
        Executor::Cpu => 0,
    }
}

/// A batch for which there is no memory is an error that leaves nothing behind; a smaller one then gives
/// what it gives anyway.
pub fn a_batch_too_large(device: &Device) {
    let set = data(256, 1);
    let base = held(device);
    let mut whole = trainer(device, 8);
    whole.fit(&set, None, |_| ()).unwrap();
    let want = bits(&whole);
    let predicted = whole.model().predict(set.x()).unwrap();
    let taken = device.allocated_bytes() - base;
    drop(whole);
    assert_eq!(held(device), base);

    let budget = Budget::of(device, base + taken);
    let mut large = trainer(device, 256);
    exhausted(large.fit(&set, None, |_| ()));
    assert_eq!(large.steps(), 0);
    // The trainer has its moments, and nothing of the batch; another attempt takes no more.
    let after = held(device);
    exhausted(large.fit(&set, None, |_| ()));
    assert_eq!(held(device), after);
    let states = 4 * 4 * parameters(&large);
    assert!(after - base < 2 * states + (16 << 10), "{} bytes of {states}", after - base);
    let mut small = large.batch_size(8);
    small.fit(&set, None, |_| ()).unwrap();
    assert!(bits(&small) == want, "a run after one that failed");
    let rows =
        |count: usize| Array::new(set.x().data()[..count * 20].to_vec(), &[count, 10, 2]).unwrap();
    // So does a prediction for which there is no memory.
    let before = held(device);
    let mut short = 0;
    loop {
        let room = staging(device) + (short + 1) * (16 << 10);
        device.set_memory_budget(Some(before + room));
        let result = small.model().predict(set.x());
        if result.is_ok() {
            break;
        }
        exhausted(result);
        short += 1;
        assert_eq!(held(device), before, "{short} x 16 KiB");
    }
    assert!(short > 3, "it fits {short} x 16 KiB");
    device.set_memory_budget(Some(base + 2 * taken));
    let few = small.model().predict(&rows(8)).unwrap();
    assert_eq!(few.data(), &predicted.data()[..80]);
    drop(small);
    assert_eq!(held(device), base);
    exhausted(Tensor::zeros(device, &[taken as usize]).map(|_| ()));
    drop(budget);
    assert_eq!(device.memory_budget(), None);
}

/// Whichever allocation of a run is the one that fails: an error, and with more memory the run goes on to
/// the same end.
pub fn any_allocation_may_fail(device: &Device) {
    let (set, validation) = (data(9, 1), data(17, 5));
    let base = held(device);
    type Change = fn(Trainer) -> Trainer;
    let kinds: [(&str, Change); 3] = [
        ("whole", |trainer| trainer),
        ("accumulated", |trainer| trainer.accumulate(2)),
        ("truncated", |trainer| trainer.truncate(4).accumulate(2)),
    ];
    for (what, change) in kinds {
        let start = || change(trainer(device, 4));
        let mut whole = start();
        whole.fit(&set, Some(&validation), |_| ()).unwrap();
        let (want, steps) = (bits(&whole), whole.steps());
        let taken = device.allocated_bytes() - base;
        drop(whole);
        assert_eq!(held(device), base);
        let model = start();
        let least = device.allocated_bytes() - base;
        drop(model);
        let (mut failed, mut halfway) = (0, 0);
        let budgets = 24;
        for i in 0..budgets {
            let mut trainer = start();
            let budget = Budget::of(device, base + least + (taken - least) * i / budgets);
            let ended = trainer.fit(&set, Some(&validation), |_| ());
            assert!(device.allocated_bytes() <= device.memory_budget().unwrap());
            drop(budget);
            match ended {
                Ok(_) => assert_eq!(trainer.steps(), steps),
                Err(error) => {
                    exhausted(Err::<(), _>(error));
                    failed += 1;
                    halfway += usize::from(trainer.steps() > 0);
                    if trainer.steps() < steps {
                        trainer.fit(&set, Some(&validation), |_| ()).unwrap();
                    }
                    assert_eq!(trainer.steps(), steps, "{what}, budget {i}");
                }
            }
            assert!(bits(&trainer) == want, "{what}, budget {i}: another end");
        }
        assert!(failed > budgets / 2, "{what}: only {failed} budgets were too small");
        assert!(halfway > 0, "{what}: no run failed halfway");
        assert_eq!(held(device), base, "{what}");
    }
}
