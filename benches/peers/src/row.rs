//! One peer, one task: verified, then timed.

use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use contestant::{Kind, Result, Shape, Task};

use crate::child::Child;
use crate::options::Options;
use crate::peers::{Pair, Peer};
use crate::statistics::{interval, median};

/// What a turn takes, about, in seconds.
const TURN: f64 = 0.05;

/// Steps of training in a turn, at most: long before a model has learned its one batch by heart and its
/// gradients are subnormal, which some CPUs are slow at.
const MOST_STEPS: usize = 200;

/// Runs of inference or gradients in a turn, at most.
const MOST: usize = 100_000;

/// Between turns: threads that spin while they wait have gone to sleep.
const PAUSE: Duration = Duration::from_millis(50);

/// What was measured of one task.
pub struct Row {
    /// Seconds each, the median of the turns.
    pub ours: f64,
    /// Seconds each, the median of the turns.
    pub peer: f64,
    /// The median of the pairs' ratios, ours by the peer's.
    pub ratio: f64,
    /// That median's interval.
    pub interval: Option<(f64, f64)>,
    /// The largest difference of the results.
    pub apart: f64,
    /// The share of the machine that was busy between turns, when it should have been idle; where the
    /// system says.
    pub busy: Option<f64>,
}

/// Verifies, then times in turns.
pub fn measure(
    pair: &mut Pair,
    peer: &Peer,
    (kind, shape): (Kind, Shape),
    folder: &Path,
    options: &Options,
) -> Result<Row> {
    let limit = options.limit;
    let Pair { ours, peer: theirs } = pair;
    let named = |name: &str| {
        let name = name.to_owned();
        move |error: contestant::Error| -> contestant::Error { format!("{name}: {error}").into() }
    };
    let (of_ours, of_theirs) = (named("gatefold"), named(peer.name));
    ours.load(kind, shape, folder, limit).map_err(&of_ours)?;
    theirs.load(kind, shape, folder, limit).map_err(&of_theirs)?;
    let a = ours.check(&folder.join("ours.f32"), limit).map_err(&of_ours)?;
    let b = theirs.check(&folder.join("theirs.f32"), limit).map_err(&of_theirs)?;
    let apart = compare(kind, shape, &a, &b, peer.tolerance)?;

    let times_of_ours = times(ours, kind, limit).map_err(&of_ours)?;
    let times_of_theirs = times(theirs, kind, limit).map_err(&of_theirs)?;
    let (mut of_a, mut of_b) = (Vec::new(), Vec::new());
    let mut pauses = Pauses::default();
    for _ in 0..options.pairs {
        pauses.pause();
        of_a.push(turn(ours, times_of_ours, limit).map_err(&of_ours)?);
        pauses.pause();
        of_b.push(turn(theirs, times_of_theirs, limit).map_err(&of_theirs)?);
    }
    let ratios: Vec<f64> = of_a.iter().zip(&of_b).map(|(a, b)| a / b).collect();
    Ok(Row {
        ours: median(&of_a),
        peer: median(&of_b),
        ratio: median(&ratios),
        interval: interval(&ratios),
        apart,
        busy: pauses.busy(),
    })
}

/// How often a turn computes; warms up on the way.
fn times(child: &mut Child, kind: Kind, limit: Duration) -> Result<usize> {
    let most = if kind == Kind::Step { MOST_STEPS } else { MOST };
    let mut times = 1;
    // A first run may compile or tune, and a short one is mostly a timer's.
    for round in 0..4 {
        let each = child.go(times, limit)? / times as f64;
        times = ((TURN / each).round() as usize).clamp(1, most.min(4 + 10 * times));
        if round > 0 && each > TURN {
            break;
        }
    }
    Ok(times)
}

/// Seconds each.
fn turn(child: &mut Child, times: usize, limit: Duration) -> Result<f64> {
    if times > 1 {
        child.go(1, limit)?;
    }
    Ok(child.go(times, limit)? / times as f64)
}

/// The time between turns, in ticks of all hardware threads together.
#[derive(Default)]
struct Pauses {
    idle: u64,
    all: u64,
}

impl Pauses {
    fn pause(&mut self) {
        let before = ticks();
        sleep(PAUSE);
        if let (Some((idle, all)), Some((idle_after, all_after))) = (before, ticks()) {
            self.idle += idle_after.saturating_sub(idle);
            self.all += all_after.saturating_sub(all);
        }
    }

    fn busy(&self) -> Option<f64> {
        (self.all > 0).then(|| 1.0 - self.idle as f64 / self.all as f64)
    }
}

/// Linux's count of idle ticks, and of all.
fn ticks() -> Option<(u64, u64)> {
    let text = std::fs::read_to_string("/proc/stat").ok()?;
    let counts: Option<Vec<u64>> =
        text.lines().next()?.split_whitespace().skip(1).map(|count| count.parse().ok()).collect();
    let counts = counts?;
    // User, nice, system, idle, waiting for a disk, interrupts, stolen; guests are counted as users.
    Some((counts.get(3)? + counts.get(4)?, counts.iter().take(8).sum()))
}

/// How far apart the results of two contestants are, where that is allowed.
fn compare(kind: Kind, shape: Shape, ours: &[f32], theirs: &[f32], tolerance: f64) -> Result<f64> {
    let tensors = Task::results(kind, shape);
    let wanted: usize = tensors.iter().map(|&(_, len)| len).sum();
    if ours.len() != wanted || theirs.len() != wanted {
        return Err(format!("{} and {} numbers, not {wanted}", ours.len(), theirs.len()).into());
    }
    let mut worst = 0.0_f64;
    let mut start = 0;
    for (tensor, len) in tensors {
        let (a, b) = (&ours[start..start + len], &theirs[start..start + len]);
        start += len;
        let largest = a.iter().fold(0.0, |most: f64, &value| most.max(f64::from(value).abs()));
        for (&a, &b) in a.iter().zip(b) {
            let (a, b) = (f64::from(a), f64::from(b));
            let unit = match kind {
                Kind::Inference => 1.0,
                Kind::ForwardBackward => largest,
                Kind::Step => a.abs(),
            };
            // The same numbers are 0 apart, also where the unit is 0; NaN compares false.
            let difference = if a == b { 0.0 } else { (a - b).abs() / unit };
            let close = difference <= tolerance;
            if !close {
                return Err(format!(
                    "{tensor} is {b:e} there and {a:e} here: {difference:.1e} apart, {tolerance:.0e} \
                     allowed"
                )
                .into());
            }
            worst = worst.max(difference);
        }
    }
    Ok(worst)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: Shape = Shape { steps: 1, batch: 1, input: 1, hidden: 3 };

    fn outputs(ours: [f32; 3], theirs: &[f32]) -> Result<f64> {
        compare(Kind::Inference, SHAPE, &ours, theirs, 1e-4)
    }

    #[test]
    fn results_that_differ() {
        assert_eq!(outputs([0.5, 0.0, -0.5], &[0.5, 0.0, -0.5]).unwrap(), 0.0);
        assert!(outputs([0.5, 0.0, -0.5], &[0.5, 0.0, -0.50005]).unwrap() > 4e-5);
        assert!(outputs([0.5, 0.0, -0.5], &[0.5, 0.0, -0.5002]).is_err());
        assert!(outputs([0.5, 0.0, -0.5], &[0.5, 0.0]).is_err());
        assert!(outputs([0.5, 0.0, -0.5], &[0.5, f32::NAN, -0.5]).is_err());
        assert!(outputs([0.5, f32::NAN, -0.5], &[0.5, f32::NAN, -0.5]).is_err());
    }

    /// A gradient's unit is its own tensor's largest element.
    #[test]
    fn each_tensor_by_itself() {
        let len = Task::results(Kind::ForwardBackward, SHAPE).iter().map(|&(_, len)| len).sum();
        let mut ours = vec![1e-3; len];
        ours[0] = 1e3; // dx
        let mut theirs = ours.clone();
        theirs[0] += 1e-2;
        assert!(compare(Kind::ForwardBackward, SHAPE, &ours, &theirs, 1e-4).is_ok());
        theirs[len - 1] += 1e-6; // dbias_hh
        assert!(compare(Kind::ForwardBackward, SHAPE, &ours, &theirs, 1e-4).is_err());
    }
}
