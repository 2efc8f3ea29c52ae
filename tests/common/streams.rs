//! Streams in a pool, against the same streams alone.

use gatefold::reference::Tolerance;
use gatefold::{Device, Init, Lstm, LstmConfig, LstmState, Stream, StreamPool, Tensor};

use super::random::{Random, normal};
use super::{assert_close, wide};

fn model(device: &Device, learned: bool, proj_size: usize) -> Lstm {
    let init = Init::Normal { mean: 0.0, std: 0.7 };
    let config = LstmConfig::new(3, 9).layers(2).proj_size(proj_size).init("weight", init);
    let config = match learned {
        true => config.learned_state(true).init("_0", init),
        false => config,
    };
    Lstm::new(device, config).unwrap()
}

/// A stream, and what it has said and heard.
struct Life {
    stream: Stream,
    inputs: Vec<Vec<f32>>,
    outputs: Vec<Vec<f32>>,
}

/// Streams join, rest, begin anew and leave at random: each has the outputs of a sequence of its
/// own, and bit for bit those that it has alone in a pool of that capacity.
pub fn pools_keep_streams_apart(device: &Device) {
    const CAPACITY: usize = 37;
    for (learned, proj_size) in [(false, 0), (true, 4)] {
        let lstm = model(device, learned, proj_size);
        let mut pool = StreamPool::new(&lstm, CAPACITY).unwrap();
        let mut r = Random::new(5);
        let (mut lives, mut ended): (Vec<Life>, Vec<Life>) = (Vec::new(), Vec::new());
        for t in 0..30 {
            while lives.len() < CAPACITY && r.below(3) > 0 {
                let stream = pool.join().unwrap();
                lives.push(Life { stream, inputs: Vec::new(), outputs: Vec::new() });
            }
            for i in (0..lives.len()).rev() {
                match r.below(12) {
                    0 => {
                        let life = lives.swap_remove(i);
                        pool.leave(life.stream).unwrap();
                        assert!(
                            pool.leave(life.stream).is_err() && pool.row_of(life.stream).is_err()
                        );
                        ended.push(life);
                    }
                    1 => {
                        pool.reset(lives[i].stream).unwrap();
                        let stream = lives[i].stream;
                        let anew = Life { stream, inputs: Vec::new(), outputs: Vec::new() };
                        ended.push(std::mem::replace(&mut lives[i], anew));
                    }
                    _ => {}
                }
            }
            assert_eq!(pool.len(), lives.len());
            let fed: Vec<usize> = (0..lives.len()).filter(|_| r.below(4) > 0).collect();
            for &i in &fed {
                lives[i].inputs.push(normal(3, 1.0, (100 * t + i) as u64));
            }
            let inputs: Vec<(Stream, &[f32])> = fed
                .iter()
                .map(|&i| (lives[i].stream, lives[i].inputs.last().unwrap().as_slice()))
                .collect();
            if inputs.is_empty() {
                continue;
            }
            let y = pool.feed(&inputs).unwrap();
            assert_eq!(y.shape(), [fed.len(), lstm.output_size()]);
            for (&i, y) in fed.iter().zip(y.data().chunks(lstm.output_size())) {
                lives[i].outputs.push(y.to_vec());
            }
        }
        ended.extend(lives);
        ended.retain(|life| !life.inputs.is_empty());
        assert!(ended.len() > 20 && ended.iter().any(|life| life.inputs.len() > 5));
        let mut alone = StreamPool::new(&lstm, CAPACITY).unwrap();
        for life in &ended {
            let stream = alone.join().unwrap();
            for (x, y) in life.inputs.iter().zip(&life.outputs) {
                assert_eq!(alone.feed(&[(stream, x)]).unwrap().data(), y);
            }
            alone.leave(stream).unwrap();
            let x = Tensor::from_slice(device, &life.inputs.concat(), &[life.inputs.len(), 3]);
            let (y, _) = lstm.forward(&x.unwrap(), None).unwrap();
            let want = wide(&y.to_vec().unwrap());
            assert_close("sequence", &life.outputs.concat(), &want, Tolerance::OUTPUT);
        }
    }
}

/// A stream is saved, goes on, is put back, and goes on as before; another forks from it.
pub fn streams_are_saved_and_restored(device: &Device) {
    let lstm = model(device, true, 0);
    let mut pool = StreamPool::new(&lstm, 5).unwrap();
    let (a, b, c) = (pool.join().unwrap(), pool.join().unwrap(), pool.join().unwrap());
    let x: Vec<Vec<f32>> = (0..4).map(|i| normal(3, 1.0, i)).collect();
    // A stream that has said nothing is where all begin.
    let (new, initial) = (pool.save(c).unwrap(), lstm.initial_state(1).unwrap());
    assert_eq!(new.h.to_vec().unwrap(), initial.h.to_vec().unwrap());
    pool.feed(&[(a, &x[0]), (b, &x[1])]).unwrap();
    let saved = pool.save(a).unwrap();
    assert_eq!((saved.h.shape(), saved.c.shape()), (&[2, 1, 9][..], &[2, 1, 9][..]));
    let first = pool.feed(&[(a, &x[2])]).unwrap();
    pool.feed(&[(a, &x[3]), (b, &x[3])]).unwrap();
    pool.restore(a, &saved).unwrap();
    pool.restore(c, &saved).unwrap();
    let again = pool.feed(&[(a, &x[2]), (c, &x[2])]).unwrap();
    assert_eq!(again.data()[..9], *first.data());
    assert_eq!(again.data()[9..], *first.data());
    // The same state in a layer's own stream.
    let mut state = LstmState { h: saved.h, c: saved.c };
    let x_t = Tensor::from_slice(device, &x[2], &[1, 3]).unwrap();
    let y = lstm.step(&x_t, &mut state).unwrap().to_vec().unwrap();
    assert_close("step", &y, &wide(first.data()), Tolerance::OUTPUT);
}

/// What isn't a stream of the pool, or not its input, is refused, and nothing changes.
pub fn pools_refuse_what_isnt_theirs(device: &Device) {
    let lstm = model(device, false, 0);
    assert!(StreamPool::new(&lstm, 0).is_err());
    let both = Lstm::new(device, LstmConfig::new(3, 4).bidirectional(true)).unwrap();
    assert!(StreamPool::new(&both, 4).is_err());
    let mut pool = StreamPool::new(&lstm, 2).unwrap();
    assert!(pool.is_empty() && pool.capacity() == 2);
    let (a, b) = (pool.join().unwrap(), pool.join().unwrap());
    assert!(pool.join().is_err());
    let x = [0.5; 3];
    let y = pool.feed(&[(b, &x)]).unwrap();
    assert!(pool.feed(&[]).is_err());
    assert!(pool.feed(&[(a, &x[..2])]).is_err());
    assert!(pool.feed(&[(a, &x), (b, &x), (a, &x)]).is_err());
    pool.leave(a).unwrap();
    let taken = pool.join().unwrap();
    assert_ne!(a, taken);
    // A stream of another pool, of the same place and age.
    let mut twin = StreamPool::new(&lstm, 2).unwrap();
    let (_, theirs) = (twin.join().unwrap(), twin.join().unwrap());
    assert!(pool.leave(theirs).is_err() && pool.feed(&[(theirs, &x)]).is_err());
    for error in [
        pool.feed(&[(a, &x)]).err(),
        pool.reset(a).err(),
        pool.save(a).err(),
        pool.leave(a).err(),
        pool.restore(b, &lstm.initial_state(2).unwrap()).err(),
        pool.step(&Tensor::zeros(device, &[1, 3]).unwrap(), &[b]).err(),
    ] {
        assert!(error.is_some());
    }
    // None of them was a step of b's.
    let mut alone = StreamPool::new(&lstm, 2).unwrap();
    let (_, stream) = (alone.join().unwrap(), alone.join().unwrap());
    assert_eq!(alone.feed(&[(stream, &x)]).unwrap(), y);
    assert_eq!(alone.feed(&[(stream, &x)]).unwrap(), pool.feed(&[(b, &x)]).unwrap());
}

/// 4,096 places, every second one live, a twentieth leaving and joining each step: as many launches as for one
/// stream, whatever the streams do. (`benches/streams.rs` has the time that it may take.)
pub fn a_large_pool_takes_few_launches(device: &Device) {
    const CAPACITY: usize = 4096;
    let lstm = Lstm::new(device, LstmConfig::new(16, 32)).unwrap();
    let live = CAPACITY / 2;
    let mut pool = StreamPool::new(&lstm, CAPACITY).unwrap();
    // A random half stays.
    let mut r = Random::new(1);
    let mut streams: Vec<Stream> = (0..CAPACITY).map(|_| pool.join().unwrap()).collect();
    while streams.len() > live {
        let at = r.below(streams.len());
        pool.leave(streams.swap_remove(at)).unwrap();
    }
    let values = normal(CAPACITY * 16, 1.0, 1);
    let x = Tensor::from_slice(device, &values, &[CAPACITY, 16]).unwrap();
    let launched = |pool: &mut StreamPool, fed: &[Stream]| {
        let before = device.counts();
        pool.step(&x, fed).unwrap();
        (device.counts() - before).dispatches
    };
    // The first step packs weights on the CPU.
    launched(&mut pool, &streams[..1]);
    let one = launched(&mut pool, &streams[..1]);
    assert!(one <= 8, "{one} launches for a step of one layer");
    for _ in 0..12 {
        // All leave before others join: those take other places.
        for _ in 0..live / 20 {
            let at = r.below(streams.len());
            pool.leave(streams.swap_remove(at)).unwrap();
        }
        streams.extend((streams.len()..live).map(|_| pool.join().unwrap()));
        assert_eq!(launched(&mut pool, &streams), one);
    }
}
