//! The asynchronous forms, driven by hand and by pollster.

use std::cell::Cell;
use std::collections::HashMap;
use std::fmt::Debug;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use gatefold::gpu::Gpu;
use gatefold::plan::{Plan, Sequences, StackShape};
use gatefold::train::{Adam, Loss, Trainer, gradients, gradients_async};
use gatefold::wgpu::PollType;
use gatefold::{
    Array, Dataset, Device, Forecaster, Linear, Lstm, LstmCell, LstmConfig, StreamPool, Tensor,
};

use super::random::normal;

/// A waker that counts.
#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// Threads of this process, where the system says; but for those that Mesa starts when it has compiled a
/// kernel, to write it into its cache (`disk$0` and so on, behind a part of the program's name).
pub fn threads() -> Option<usize> {
    let tasks = std::fs::read_dir("/proc/self/task").ok()?;
    let name = |task: std::fs::DirEntry| std::fs::read_to_string(task.path().join("comm"));
    // One that ends meanwhile has no name.
    let names = tasks.flatten().filter_map(|task| name(task).ok());
    Some(names.filter(|name| !name.contains("disk$")).count())
}

/// A hand-written executor of one future.
pub struct Driver<'a> {
    /// Who has to poll, where the library doesn't.
    caller: Option<&'a Gpu>,
    with_pollster: bool,
    /// Pending futures seen.
    pub pending: Cell<usize>,
    /// Threads seen, at most.
    pub most_threads: Cell<usize>,
}

impl<'a> Driver<'a> {
    /// The library polls its device.
    pub fn library() -> Driver<'a> {
        let (pending, most_threads) = (Cell::new(0), Cell::new(0));
        Driver { caller: None, with_pollster: true, pending, most_threads }
    }

    /// The driver polls the device between polls of the future.
    #[allow(dead_code, reason = "only the GPU's tests have a device of their own")]
    pub fn caller(gpu: &'a Gpu) -> Driver<'a> {
        Driver { caller: Some(gpu), ..Driver::library() }
    }

    /// Without pollster, which needs another thread to poll a caller's device.
    #[allow(dead_code, reason = "only the GPU's tests count threads")]
    pub fn by_hand(self) -> Driver<'a> {
        Driver { with_pollster: false, ..self }
    }

    fn poll<F: Future>(&self, future: Pin<&mut F>, wakes: &Arc<Wakes>) -> Poll<F::Output> {
        let result = future.poll(&mut Context::from_waker(&Waker::from(wakes.clone())));
        self.pending.set(self.pending.get() + usize::from(result.is_pending()));
        self.most_threads.set(self.most_threads.get().max(threads().unwrap_or(0)));
        result
    }

    /// Until the future has been woken.
    fn pause(&self, wakes: &Wakes, seen: usize) {
        let since = Instant::now();
        while wakes.0.load(Ordering::SeqCst) == seen {
            let gpu = self.caller.expect("it is pending, and didn't ask to be polled again");
            gpu.wgpu_device().poll(PollType::Poll).unwrap();
            std::thread::yield_now();
            assert!(since.elapsed() < Duration::from_secs(120), "the device was polled in vain");
        }
    }

    /// Polls a future when it has been woken, and only then.
    pub fn drive<F: Future>(&self, future: F) -> F::Output {
        let mut future = pin!(future);
        self.drive_until(future.as_mut(), usize::MAX).expect("a result")
    }

    /// Until the future has been pending so many times.
    pub fn drive_until<F: Future>(
        &self,
        mut future: Pin<&mut F>,
        most: usize,
    ) -> Option<F::Output> {
        let wakes = Arc::new(Wakes::default());
        for pending in 1.. {
            let seen = wakes.0.load(Ordering::SeqCst);
            if let Poll::Ready(output) = self.poll(future.as_mut(), &wakes) {
                return Some(output);
            }
            if pending == most {
                break;
            }
            self.pause(&wakes, seen);
        }
        None
    }

    /// The future is pending for as long as nobody polls the device, and doesn't poll it.
    fn stays_pending<F: Future>(&self, what: &str, mut future: Pin<&mut F>, gpu: &Gpu) {
        let wakes = Arc::new(Wakes::default());
        let polled = Arc::new(AtomicBool::new(false));
        for turn in 0..60 {
            assert!(self.poll(future.as_mut(), &wakes).is_pending(), "{what}, turn {turn}");
            if turn == 20 {
                let set = polled.clone();
                gpu.wgpu_queue().on_submitted_work_done(move || set.store(true, Ordering::SeqCst));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        assert!(!polled.load(Ordering::SeqCst), "{what} polls a caller's device");
    }

    fn pollster<F: Future>(&self, future: F) -> F::Output {
        let Some(gpu) = self.caller else {
            return pollster::block_on(future);
        };
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    gpu.wgpu_device().poll(PollType::Poll).unwrap();
                    std::thread::yield_now();
                }
            });
            let output = pollster::block_on(future);
            done.store(true, Ordering::Relaxed);
            output
        })
    }

    /// The results of both forms are the same, to the last bit; also after one that was dropped.
    fn check<T: Debug, F: Future<Output = T> + Send>(
        &self,
        what: &str,
        blocking: impl Fn() -> T,
        form: impl Fn() -> F,
    ) {
        let want = format!("{:?}", blocking());
        assert!(!want.starts_with("Err"), "{what}: {want}");
        assert_eq!(format!("{:?}", self.drive(form())), want, "{what}");
        let mut future = Box::pin(form());
        match self.caller {
            Some(gpu) => self.stays_pending(what, future.as_mut(), gpu),
            None => drop(self.poll(future.as_mut(), &Arc::default())),
        }
        drop(future);
        assert_eq!(format!("{:?}", blocking()), want, "{what}, after one that was dropped");
        if let Some(gpu) = self.caller {
            let mut future = Box::pin(form());
            self.stays_pending(what, future.as_mut(), gpu);
            assert_eq!(format!("{:?}", self.drive(future)), want, "{what}, polled late");
        }
        if self.with_pollster {
            assert_eq!(format!("{:?}", self.pollster(form())), want, "{what}, by pollster");
        }
    }
}

fn data(rows: usize, seed: u64) -> Dataset {
    let x = Array::new(normal(rows * 5 * 2, 1.0, seed), &[rows, 5, 2]).unwrap();
    Dataset::new(x, Array::new(normal(rows, 1.0, seed + 1), &[rows, 1]).unwrap()).unwrap()
}

/// Steps between reports are more than the submissions that may be in flight at a time.
fn trainer(device: &Device) -> Trainer {
    let model = Forecaster::new(device, LstmConfig::new(2, 4).seed(2), 1).unwrap();
    let trainer = Trainer::new(model, Loss::mse(), Adam::new(0.02)).batch_size(1).epochs(6);
    trainer.shuffle(3).report_every(2).early_stopping(2)
}

/// Every asynchronous form beside its blocking one.
pub fn every_form_by(device: &Device, driver: &Driver<'_>) {
    let model = Forecaster::new(device, LstmConfig::new(2, 4).layers(2), 1).unwrap();
    let small = data(7, 1);
    let large = data(1100, 1); // more rows than are run at a time
    driver.check("predict", || model.predict(large.x()), || model.predict_async(large.x()));
    driver.check("state_dict", || model.state_dict(), || model.state_dict_async());
    let loss = Loss::mse();
    driver.check(
        "gradients",
        || gradients(&model, &small, &loss),
        || gradients_async(&model, &small, &loss),
    );

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let written = |saved: gatefold::Result<()>| {
        saved.unwrap();
        let loaded = Forecaster::load_with(device, &path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let mut entries: Vec<_> = loaded.1.into_iter().collect();
        entries.sort();
        entries
    };
    driver.check(
        "save",
        || written(model.save(&path)),
        || async { written(model.save_async(&path).await) },
    );
    let entries = HashMap::from([("scale".to_owned(), "2".to_owned())]);
    driver.check(
        "save_with",
        || written(model.save_with(&path, &entries)),
        || async { written(model.save_with_async(&path, &entries).await) },
    );

    let tensor = Tensor::from_slice(device, &normal(100, 1.0, 1), &[100]).unwrap();
    driver.check("to_vec", || tensor.to_vec(), || tensor.to_vec_async());

    let lstm = Lstm::new(device, LstmConfig::new(2, 3).bidirectional(true)).unwrap();
    driver.check("Lstm's", || lstm.state_dict(), || lstm.state_dict_async());
    let x = Tensor::from_slice(device, &normal(5 * 2 * 2, 1.0, 1), &[5, 2, 2]).unwrap();
    let pass = lstm.forward_training(&x, None, None, 1).unwrap();
    let dy = Tensor::from_slice(device, &normal(60, 1.0, 2), pass.output().shape()).unwrap();
    let passed = pass.backward(Some(&dy), None).unwrap();
    driver.check("parameters", || passed.parameters(), || passed.parameters_async());
    let one_way = Lstm::new(device, LstmConfig::new(2, 3)).unwrap();
    let streams = || {
        let mut pool = StreamPool::new(&one_way, 4).unwrap();
        let joined = [(); 3].map(|()| pool.join().unwrap());
        (pool, joined)
    };
    let inputs: &[&[f32]] = &[&[0.5, -1.0], &[2.0, 0.25], &[-0.5, 1.5]];
    driver.check(
        "feed",
        || {
            let (mut pool, joined) = streams();
            let feed = [(joined[2], inputs[0]), (joined[0], inputs[1])];
            [pool.feed(&feed).unwrap(), pool.feed(&[(joined[2], inputs[2])]).unwrap()]
        },
        || async {
            let (mut pool, joined) = streams();
            let feed = [(joined[2], inputs[0]), (joined[0], inputs[1])];
            let first = pool.feed_async(&feed).await.unwrap();
            [first, pool.feed_async(&[(joined[2], inputs[2])]).await.unwrap()]
        },
    );
    let cell = LstmCell::new(device, LstmConfig::new(2, 3)).unwrap();
    driver.check("LstmCell's", || cell.state_dict(), || cell.state_dict_async());
    let linear = Linear::new(device, 2, 3, 1).unwrap();
    driver.check("Linear's", || linear.state_dict(), || linear.state_dict_async());

    let sequences = Sequences::new(3, 2);
    let plan = Plan::forward(&StackShape::lstm(2, 4), &sequences, &device.limits()).unwrap();
    let session = device.session(&plan.program).unwrap();
    session.write("x", &normal(12, 1.0, 3)).unwrap();
    session.run().unwrap();
    driver.check("Session::read", || session.read("h_l0"), || session.read_async("h_l0"));
    driver.check("Session::wait", || session.wait(), || session.wait_async());
    driver.check("Device::wait", || device.wait(), || device.wait_async());
    if let Some(gpu) = device.as_gpu() {
        driver.check("Gpu::wait", || gpu.wait(), || gpu.wait_async());
    }
    driver.drive(device.room_async());

    let trained = trainer(device);
    driver.check("evaluate", || trained.evaluate(&small), || trained.evaluate_async(&small));
    let (train, validation) = (data(40, 5), data(9, 7));
    driver.check(
        "fit",
        || {
            let (mut trainer, mut seen) = (trainer(device), Vec::new());
            let report = trainer
                .fit(&train, Some(&validation), |p| seen.push((p.epoch, p.loss, p.validation)));
            (report.unwrap(), seen, trainer.model().state_dict().unwrap())
        },
        || async {
            let (mut trainer, mut seen) = (trainer(device), Vec::new());
            let seeing = |p: &gatefold::train::Progress| {
                seen.push((p.epoch, p.loss, p.validation));
            };
            let report = trainer.fit_async(&train, Some(&validation), seeing).await;
            (report.unwrap(), seen, trainer.model().state_dict_async().await.unwrap())
        },
    );
    // Or else nothing was seen of waiting.
    assert_eq!(driver.pending.get() > 0, device.as_gpu().is_some());
}

/// A fit that is dropped leaves a whole number of steps, with their moments and their number, and a
/// trainer that goes on from there.
pub fn dropped_fits_by(device: &Device, driver: &Driver<'_>) {
    // An epoch is a step. Steps differ by moments, bias correction and dropout.
    let trainer = |epochs| {
        let config = LstmConfig::new(2, 4).layers(2).dropout(0.4).seed(4);
        let model = Forecaster::new(device, config, 1).unwrap();
        Trainer::new(model, Loss::mse(), Adam::new(0.02)).batch_size(6).epochs(epochs)
    };
    let train = data(6, 1);
    let state = |trainer: &Trainer| format!("{:?}", trainer.model().state_dict().unwrap());
    let (steps, more) = (48, 3);
    let mut single = trainer(1);
    let mut after = vec![state(&single)];
    for _ in 0..steps + more {
        single.fit(&train, None, |_| ()).unwrap();
        after.push(state(&single));
    }
    let mut left = Vec::new();
    for (report_every, pending) in [(12, 0), (12, 1), (12, 2), (12, 3), (48, 1), (48, 2)] {
        let mut dropped = trainer(steps).report_every(report_every);
        let mut future = Box::pin(dropped.fit_async(&train, None, |_| ()));
        if pending > 0 {
            // The CPU is never pending, and a GPU that the library polls may be quick.
            let ended = driver.drive_until(future.as_mut(), pending).is_some();
            assert!(!ended || driver.caller.is_none());
        }
        drop(future);
        let now = state(&dropped);
        let count = after.iter().position(|after| *after == now);
        let count = count.expect("what a whole number of steps gives");
        // Whether it has ended or not, the run goes on.
        let mut dropped = dropped.epochs(count + more);
        dropped.fit(&train, None, |_| ()).unwrap();
        assert!(state(&dropped) == after[count + more], "three steps after {count}");
        left.push(count);
    }
    assert_eq!(left[0], 0, "a future that isn't polled does nothing");
    assert!(left[1..].iter().all(|&count| count > 0), "{left:?}");
    let halfway = left.iter().any(|&count| (2..steps).contains(&count));
    assert!(halfway || driver.caller.is_none(), "{left:?}");
}

/// A trainer whose `progress` has panicked goes on with its run.
pub fn panics_in_progress(device: &Device) {
    let (train, validation) = (data(8, 1), data(3, 4));
    let fitted = |panics: bool| {
        let mut trainer = trainer(device).epochs(5);
        // Without the hook that prints a panic: this one is meant.
        let progress = |_: &gatefold::train::Progress| {
            if panics {
                std::panic::resume_unwind(Box::new("on purpose"));
            }
        };
        let fit = || trainer.fit(&train, Some(&validation), progress);
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(fit));
        assert_eq!(outcome.is_err(), panics);
        if panics {
            assert_eq!(trainer.steps(), 8, "the epoch before the report");
            trainer.fit(&train, Some(&validation), |_| ()).unwrap();
        }
        format!("{:?}", trainer.model().state_dict().unwrap())
    };
    assert_eq!(fitted(true), fitted(false));
}

pub fn every_form(device: &Device) {
    every_form_by(device, &Driver::library());
}

pub fn dropped_fits(device: &Device) {
    dropped_fits_by(device, &Driver::library());
}
