//! The optimizers' kernels, and those that say whether a step is applied.

use gatefold::Device;
use gatefold::command::{Command, Dispatch, Operation};
use gatefold::kernels::{self, View, clip_scale::Operands as Clip, gradient_norm::CHUNK};
use gatefold::reference::{
    self, AdamSettings, CommonSettings, GROUP_BLOCK, RmsPropSettings, SETTINGS, SgdSettings,
    Tolerance, kind, policy, scalars, status,
};

use super::kernels::Launch;
use super::random::{POISON, SIZES, normal};
use super::{assert_close, wide};

/// A group without anything, one that is frozen, one with a penalty and a bound, and one whose
/// parameters decay by themselves.
fn four_groups(rate: f32, clip_value: f32) -> [CommonSettings; 4] {
    let plain = CommonSettings::new(rate);
    [
        plain,
        CommonSettings { active: false, keep: 0.5, ..plain },
        CommonSettings { weight_decay: 0.1, clip_value, ..plain },
        CommonSettings { keep: 0.9, rate: 3.0 * rate, ..plain },
    ]
}

const FROZEN: usize = 1;

fn status_of(scale: f32, apply: f32) -> [f32; status::LEN] {
    let mut values = [0.0; status::LEN];
    (values[status::SCALE], values[status::APPLY]) = (scale, apply);
    values
}

/// One update that is to be launched.
#[derive(Clone)]
struct Update {
    g: Vec<f32>,
    p: Vec<f32>,
    /// The size of the gradients.
    size: f32,
    /// The first element in every flat buffer.
    start: usize,
    /// The group of each block.
    groups: Vec<usize>,
    common: [CommonSettings; 4],
    status: [f32; status::LEN],
}

impl Update {
    /// Over random numbers; the first block is of this group.
    fn new(len: usize, group: usize, size: f32) -> Update {
        Update {
            g: normal(len, size, 1),
            p: normal(len, 1.0, 2),
            size,
            start: len % 5,
            groups: (0..len.div_ceil(GROUP_BLOCK)).map(|block| (block + group) % 4).collect(),
            common: four_groups(0.02, 0.3 * size),
            status: status_of(0.75, 1.0),
        }
    }

    fn group_of(&self, i: usize) -> usize {
        self.groups[i / GROUP_BLOCK]
    }
}

/// The buffers that all optimizers have.
struct Shared {
    settings: View,
    groups: View,
    status: View,
    g: View,
    p: View,
}

/// The buffer of the parameters in what [`Optimizer::build`] makes; the states are behind it.
const P: usize = 4;

/// Numbers with others around them.
fn flat(launch: &mut Launch, start: usize, values: &[f32]) -> View {
    launch.buffer([vec![POISON; start], values.to_vec(), vec![POISON; 3]].concat(), start)
}

type Fill = dyn Fn(&mut Launch, &Update, Shared) -> Dispatch;

/// An optimizer as the checks see it.
struct Optimizer {
    what: String,
    row: Box<dyn Fn(CommonSettings) -> [f32; SETTINGS]>,
    /// Adds the states and fills the launch.
    fill: Box<Fill>,
    /// Whether parameters and states have the signs of their gradients, so that nothing cancels
    /// and a relative tolerance holds.
    aligned: bool,
    /// The size of the smallest gradients, as a power of ten: where a step is proportional to
    /// them, parameters must not swallow it.
    smallest: i32,
}

impl Optimizer {
    fn build(&self, update: &Update) -> (Launch, Dispatch) {
        let mut launch = Launch::new();
        let row = |common: &CommonSettings| (self.row)(*common);
        let settings: Vec<f32> = update.common.iter().flat_map(row).collect();
        let settings = launch.buffer([vec![POISON; 3], settings].concat(), 3);
        let groups = update.groups.iter().map(|&group| group as f32).collect();
        let groups = launch.buffer([vec![POISON; 2], groups].concat(), 2);
        let status = launch.buffer([vec![POISON; 5], update.status.to_vec()].concat(), 5);
        let g = flat(&mut launch, update.start, &update.g);
        let mut p = update.p.clone();
        if self.aligned {
            for (p, g) in p.iter_mut().zip(&update.g) {
                *p = (0.5 + p.abs()).copysign(*g);
            }
        }
        let p = flat(&mut launch, update.start, &p);
        let shared = Shared { settings, groups, status, g, p };
        let dispatch = (self.fill)(&mut launch, update, shared);
        (launch, dispatch)
    }

    /// What the buffers hold afterwards; those from `P` on are written.
    fn run(&self, device: &Device, update: &Update) -> Vec<Vec<f32>> {
        let (launch, dispatch) = self.build(update);
        after(device, launch, vec![dispatch])
    }

    fn check(&self, device: &Device) {
        let lengths = SIZES.into_iter().chain([64, 128, 255, 256, 257, 1000]);
        for (i, len) in lengths.enumerate() {
            let update = Update::new(len, i % 4, 10f32.powi(i as i32 % 9 + self.smallest));
            let (launch, dispatch) = self.build(&update);
            let idle = update.groups.iter().all(|&group| group == FROZEN);
            let what = format!("{}, N = {len}", self.what);
            launch.check_unless(device, dispatch, what, idle);
        }
        self.rests(device);
        self.passes_on_what_is_not_finite(device);
        self.padding_stays_zero(device);
    }

    /// Nothing changes in a step that isn't applied, nor in a group that is frozen: not a bit.
    fn rests(&self, device: &Device) {
        let mut update = Update::new(300, 0, 1.0);
        let unchanged = |update: &Update, only_frozen: bool| {
            let before = self.build(update).0.contents;
            for (before, after) in before.iter().zip(self.run(device, update)).skip(P) {
                for (i, (b, a)) in before.iter().zip(after).enumerate() {
                    let inside = (update.start..update.start + 300).contains(&i);
                    if !only_frozen || inside && update.group_of(i - update.start) == FROZEN {
                        assert_eq!(b.to_bits(), a.to_bits(), "{}, element {i}", self.what);
                    }
                }
            }
        };
        unchanged(&update, true);
        update.g.fill(f32::NAN);
        unchanged(&update, true);
        update.status = status_of(f32::NAN, 0.0);
        unchanged(&update, false);
    }

    /// A gradient that isn't finite reaches its own parameter, and no other.
    fn passes_on_what_is_not_finite(&self, device: &Device) {
        let mut update = Update::new(256, 0, 1.0);
        update.groups = vec![0, 2, FROZEN, 3];
        let bad = [
            (3, f32::INFINITY),
            (5, f32::NAN),
            (70, f32::INFINITY), // within the bound
            (90, f32::NEG_INFINITY),
            (100, f32::NAN),
            (101, -f32::NAN),
            (140, f32::NAN), // frozen
            (200, f32::NEG_INFINITY),
            (255, f32::NAN),
        ];
        for (i, _) in bad {
            update.g[i] = 0.0;
        }
        let usual = self.run(device, &update);
        for (i, value) in bad {
            update.g[i] = value;
        }
        let got = self.run(device, &update);
        let at = |i: usize| update.start + i;
        for i in 0..256 {
            let (got, usual) = (got[P][at(i)], usual[P][at(i)]);
            let what = format!("{}: parameter {i} is {got}", self.what);
            match bad.iter().find(|(bad, _)| *bad == i) {
                Some((70 | 90, _)) => assert!(got.is_finite() && got != usual, "{what}"),
                Some((140, _)) | None => assert_eq!(got, usual, "{what}"),
                Some((_, value)) if value.is_nan() => assert!(got.is_nan(), "{what}"),
                Some(_) => assert!(!got.is_finite(), "{what}"),
            }
        }
        // A norm that is NaN makes everything NaN that is trained.
        let mut update = Update::new(256, 0, 1.0);
        update.status = status_of(f32::NAN, 1.0);
        let got = self.run(device, &update);
        for i in 0..256 {
            assert_eq!(got[P][at(i)].is_nan(), update.group_of(i) != FROZEN, "{}", self.what);
        }
    }

    /// Where gradient, parameter and states are zero, they stay zero.
    fn padding_stays_zero(&self, device: &Device) {
        let mut update = Update::new(256, 0, 0.0);
        update.p.fill(0.0);
        let (mut launch, dispatch) = self.build(&update);
        for contents in &mut launch.contents[P..] {
            contents.fill(0.0);
        }
        for values in &after(device, launch, vec![dispatch])[P..] {
            assert!(values.iter().all(|&value| value == 0.0), "{}", self.what);
        }
    }
}

/// What all buffers hold after some launches.
fn after(device: &Device, launch: Launch, dispatches: Vec<Dispatch>) -> Vec<Vec<f32>> {
    let Launch { mut program, contents } = launch;
    for dispatch in dispatches {
        let (label, operation) = ("launch".to_owned(), Operation::Dispatch(dispatch));
        program.commands.push(Command { label, operation });
    }
    let names: Vec<String> = program.buffers.iter().map(|spec| spec.name.clone()).collect();
    let session = device.session(&program.into()).unwrap();
    for (name, contents) in names.iter().zip(&contents) {
        session.write(name, contents).unwrap();
    }
    session.run().unwrap();
    names.iter().map(|name| session.read(name).unwrap()).collect()
}

pub fn adam(device: &Device) {
    let row = |common| {
        let settings = AdamSettings {
            common,
            one_minus_beta1: 0.1,
            beta2: 0.999,
            one_minus_beta2: 0.001,
            eps: 1e-8,
            root_correction: 0.3,
        };
        settings.row()
    };
    let fill = |launch: &mut Launch, update: &Update, shared: Shared| {
        let Shared { settings, groups, status, g, p } = shared;
        let (len, start, size) = (update.g.len(), update.start, update.size);
        let mut m = normal(len, size, 3);
        m.iter_mut().zip(&update.g).for_each(|(m, g)| *m = m.copysign(*g));
        // The mean of squares is at least the square of the mean, so that steps are small beside
        // parameters.
        let rest = normal(len, size, 4);
        let v: Vec<f32> = m.iter().zip(rest).map(|(m, rest)| m * m + rest * rest).collect();
        let (m, v) = (flat(launch, start, &m), flat(launch, start, &v));
        let operands = kernels::adam::Operands { settings, groups, status, g, p, m, v };
        kernels::adam::dispatch(len, &operands)
    };
    let what = "adam".to_owned();
    Optimizer { what, row: Box::new(row), fill: Box::new(fill), aligned: true, smallest: -6 }
        .check(device);
}

pub fn sgd(device: &Device) {
    for flags in 0..3 {
        let (with_momentum, nesterov) = (flags > 0, flags == 2);
        for gradient_share in [1.0, 0.7] {
            let row = move |common| {
                let settings = SgdSettings { common, momentum: 0.9, gradient_share, nesterov };
                settings.row()
            };
            let fill = move |launch: &mut Launch, update: &Update, shared: Shared| {
                let Shared { settings, groups, status, g, p } = shared;
                let len = update.g.len();
                let momentum = match with_momentum {
                    true => flat(launch, update.start, &normal(len, update.size, 3)),
                    false => launch.poisoned(1),
                };
                let operands = kernels::sgd::Operands { settings, groups, status, g, p, momentum };
                kernels::sgd::dispatch(len, with_momentum, &operands)
            };
            let what = format!("sgd, flags {flags}, gradient_share {gradient_share}");
            Optimizer {
                what,
                row: Box::new(row),
                fill: Box::new(fill),
                aligned: false,
                smallest: -2,
            }
            .check(device);
        }
    }
}

pub fn rmsprop(device: &Device) {
    for flags in 0..4 {
        let flags = kernels::rmsprop::Flags { momentum: flags & 1 == 1, centered: flags & 2 == 2 };
        let row = |common| {
            let settings = RmsPropSettings {
                common,
                alpha: 0.95,
                one_minus_alpha: 0.05,
                eps: 1e-8,
                momentum: 0.8,
            };
            settings.row()
        };
        let fill = move |launch: &mut Launch, update: &Update, shared: Shared| {
            let Shared { settings, groups, status, g, p } = shared;
            let (len, size) = (update.g.len(), update.size);
            // The square of a mean is at most the mean of squares: here half of it, since a
            // difference of nearly equal numbers is all rounding error.
            let mean = normal(len, size, 3);
            let rest = normal(len, size, 4);
            let squares: Vec<f32> =
                mean.iter().zip(rest).map(|(mean, rest)| 2.0 * mean * mean + rest * rest).collect();
            let mut state = |has: bool, values: &[f32]| match has {
                true => flat(launch, update.start, values),
                false => launch.poisoned(1),
            };
            let operands = kernels::rmsprop::Operands {
                settings,
                groups,
                status,
                g,
                p,
                square_avg: state(true, &squares),
                momentum: state(flags.momentum, &normal(len, 1.0, 5)),
                grad_avg: state(flags.centered, &mean),
            };
            kernels::rmsprop::dispatch(len, flags, &operands)
        };
        let what = format!("rmsprop, {flags:?}");
        Optimizer { what, row: Box::new(row), fill: Box::new(fill), aligned: false, smallest: -6 }
            .check(device);
    }
}

/// `gradient_norm` over `g` in chunks, from chunk `first_chunk` on; the last buffer has the results.
fn norm_launch(
    g: &[f32],
    groups: &[usize],
    (chunk, first_chunk): (usize, usize),
) -> (Launch, Dispatch) {
    let mut launch = Launch::new();
    let settings: Vec<f32> = four_groups(1.0, 1.0)
        .into_iter()
        .flat_map(|common| {
            SgdSettings { common, momentum: 0.0, gradient_share: 1.0, nesterov: false }.row()
        })
        .collect();
    let settings = launch.buffer([vec![POISON; 3], settings].concat(), 3);
    let groups = groups.iter().map(|&group| group as f32).collect();
    let groups = launch.buffer([vec![POISON; 2], groups].concat(), 2);
    let len = g.len();
    let g = flat(&mut launch, 5, g);
    let partials = 2 * (first_chunk + len.div_ceil(chunk));
    let partials = View { start: 1, ..launch.poisoned(1 + partials + 2) };
    let operands = kernels::gradient_norm::Operands { settings, groups, g, partials };
    (launch, kernels::gradient_norm::dispatch(len, (chunk, first_chunk), &operands))
}

pub fn gradient_norm(device: &Device) {
    let lengths = SIZES.into_iter().chain([256, 257, 1000, CHUNK - 1, CHUNK, CHUNK + 1, 50_000]);
    for (i, len) in lengths.enumerate() {
        let groups: Vec<usize> = (0..len.div_ceil(GROUP_BLOCK)).map(|b| (b / 3 + i) % 4).collect();
        let (launch, dispatch) =
            norm_launch(&normal(len, 1.0, 1), &groups, ([CHUNK, 640][i % 2], i % 3));
        launch.check(device, dispatch, format!("N = {len}"));
    }

    // The first element of each chunk that isn't finite, whatever it is; frozen ones don't count.
    let len = 2 * CHUNK + 1000;
    let mut groups = vec![0; len.div_ceil(GROUP_BLOCK)];
    groups[CHUNK / GROUP_BLOCK] = FROZEN;
    for value in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut g = normal(len, 1.0, 1);
        // Two of them are one invocation's.
        for at in [CHUNK + 5, CHUNK + 5000, CHUNK + 333, CHUNK + 333 + 256, len - 1] {
            g[at] = value;
        }
        let (launch, dispatch) = norm_launch(&g, &groups, (CHUNK, 0));
        let got = after(device, launch, vec![dispatch]).pop().unwrap();
        let offsets = [got[2], got[4], got[6]];
        assert_eq!(offsets, [CHUNK as f32, 333.0, 999.0], "of {value}");
        assert!(got[1].is_finite() && !got[3].is_finite() && !got[5].is_finite());
        // At a chunk's very start and end.
        let mut g = normal(len, 1.0, 1);
        (g[0], g[2 * CHUNK - 1]) = (value, value);
        let (launch, dispatch) = norm_launch(&g, &groups, (CHUNK, 0));
        let got = after(device, launch, vec![dispatch]).pop().unwrap();
        assert_eq!([got[2], got[4], got[6]], [0.0, 16_383.0, 16_384.0], "of {value}");
    }
    // Squares overflow, and every element is finite.
    let (launch, dispatch) = norm_launch(&[f32::MAX; 300], &[0; 5], (CHUNK, 0));
    let got = after(device, launch, vec![dispatch]).pop().unwrap();
    assert_eq!(got[1..3], [f32::INFINITY, CHUNK as f32]);
}

/// `clip_scale` over chunks; the last buffer has the status, from element 7 on.
fn clip_launch(scalars: &[f32], loss: f32, partials: &[f32], before: &[f32]) -> (Launch, Dispatch) {
    let mut launch = Launch::new();
    let scalars = launch.buffer([&[POISON; 3], scalars].concat(), 3);
    let loss = launch.buffer(vec![POISON, POISON, loss], 2);
    let chunks = partials.len() / 2;
    let partials = launch.buffer([&[POISON], partials, &[POISON, 0.0]].concat(), 1);
    let status = launch.buffer([&[POISON; 7], before].concat(), 7);
    let operands = Clip { scalars, loss, partials, status };
    (launch, kernels::clip_scale::dispatch(chunks, &operands))
}

fn host_says(max_norm: f32, policy: f32) -> [f32; scalars::LEN] {
    let mut values = [POISON; scalars::LEN];
    (values[scalars::MAX_NORM], values[scalars::POLICY]) = (max_norm, policy);
    values
}

/// Chunks of finite gradients.
fn chunks(count: usize, sum: f32) -> Vec<f32> {
    normal(count, sum, 1).into_iter().flat_map(|sum| [sum.abs(), CHUNK as f32]).collect()
}

pub fn clip_scale(device: &Device) {
    for count in SIZES.into_iter().chain([255, 256, 257, 1000, 70_000]) {
        for (max_norm, sum) in
            [(f32::MAX, 1.0), (1.0, 1.0), (0.0, 1.0), (1e3, 1e-8), (1.0, 0.0), (1e-6, 1e-12)]
        {
            for policy in [policy::PASS, policy::SKIP, policy::ERROR] {
                let scalars = host_says(max_norm, policy);
                let before = status_of(POISON, POISON);
                let (launch, dispatch) = clip_launch(&scalars, 0.5, &chunks(count, sum), &before);
                let what = format!("{count} chunks of {sum}, max_norm {max_norm}, {policy}");
                launch.check(device, dispatch, what);
            }
        }
    }
    for policy in [policy::PASS, policy::SKIP, policy::ERROR] {
        statuses(device, policy);
    }
}

/// What a policy makes of a row of steps.
fn statuses(device: &Device, policy: f32) {
    let good = chunks(600, 1.0);
    let bad = |at: &[(usize, f32)]| {
        let mut partials = good.clone();
        for &(chunk, offset) in at {
            (partials[2 * chunk], partials[2 * chunk + 1]) = (f32::NAN, offset);
        }
        partials
    };
    let mut overflown = good.clone();
    overflown[10] = f32::INFINITY;
    let steps = [
        (0.5, good.clone()),
        (0.5, overflown),
        (0.5, bad(&[(556, 0.0), (300, 7.0), (301, 3.0)])),
        (0.5, good.clone()),
        (f32::NAN, good.clone()),
        (f32::INFINITY, bad(&[(0, 16_383.0)])),
        (0.5, bad(&[(0, 16_383.0)])),
    ];
    // apply, halted, kind, chunk, offset, since, skipped
    let want: [[f32; 7]; 7] = if policy == policy::PASS {
        [[1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]; 7]
    } else if policy == policy::SKIP {
        [
            [1.0, 0.0, kind::NONE, 0.0, 0.0, 0.0, 0.0],
            [1.0, 0.0, kind::NONE, 0.0, 0.0, 0.0, 0.0],
            [0.0, 0.0, kind::GRADIENT, 300.0, 7.0, 0.0, 1.0],
            [1.0, 0.0, kind::GRADIENT, 300.0, 7.0, 0.0, 1.0],
            [0.0, 0.0, kind::LOSS, 0.0, 0.0, 0.0, 2.0],
            [0.0, 0.0, kind::LOSS, 0.0, 0.0, 0.0, 3.0],
            [0.0, 0.0, kind::GRADIENT, 0.0, 16_383.0, 0.0, 4.0],
        ]
    } else {
        [
            [1.0, 0.0, kind::NONE, 0.0, 0.0, 0.0, 0.0],
            [1.0, 0.0, kind::NONE, 0.0, 0.0, 0.0, 0.0],
            [0.0, 1.0, kind::GRADIENT, 300.0, 7.0, 1.0, 0.0],
            [0.0, 1.0, kind::GRADIENT, 300.0, 7.0, 2.0, 0.0],
            [0.0, 1.0, kind::GRADIENT, 300.0, 7.0, 3.0, 0.0],
            [0.0, 1.0, kind::GRADIENT, 300.0, 7.0, 4.0, 0.0],
            [0.0, 1.0, kind::GRADIENT, 300.0, 7.0, 5.0, 0.0],
        ]
    };
    for max_norm in [f32::MAX, 1.0] {
        let scalars = host_says(max_norm, policy);
        let mut now = vec![0.0; status::LEN];
        for (step, ((loss, partials), want)) in steps.iter().zip(want).enumerate() {
            let (launch, dispatch) = clip_launch(&scalars, *loss, partials, &now);
            let mut twin = wide(&now);
            now = after(device, launch, vec![dispatch]).pop().unwrap().split_off(7);
            let what = format!("policy {policy}, max_norm {max_norm}, step {step}: {now:?}");
            assert_eq!(now[status::APPLY..=status::SKIPPED], want, "{what}");
            assert_eq!(now[status::SKIPPED + 1..], [0.0; 7], "{what}");
            let (scale, norm) = (now[status::SCALE], now[status::NORM]);
            let sums_to_nan = [2, 5, 6].contains(&step);
            assert_eq!(norm.is_nan(), sums_to_nan, "{what}");
            match (step, max_norm) {
                (_, f32::MAX) => assert_eq!(scale, 1.0, "{what}"),
                (1, _) => assert_eq!((norm, scale), (f32::INFINITY, 0.0), "{what}"),
                _ => assert_eq!(scale.is_nan(), sums_to_nan, "{what}"),
            }
            if step != 1 && !sums_to_nan {
                reference::clip_scale(
                    &wide(&scalars),
                    f64::from(*loss),
                    &wide(partials),
                    CHUNK,
                    &mut twin,
                );
                let tolerance = Tolerance::Mixed { absolute: 0.0, relative: 1e-5 };
                assert_close(&what, &now, &twin, tolerance);
            }
        }
    }
}

/// Norm, clipping and update in a row, over three steps of which the second has a bad gradient:
/// what is left out leaves no trace.
pub fn bad_gradients_under_each_policy(device: &Device) {
    let len = CHUNK + 300;
    let bad_at = CHUNK + 130;
    let (chunks, groups) = (len.div_ceil(CHUNK), vec![0; len.div_ceil(GROUP_BLOCK)]);
    let common = CommonSettings::new(0.1);
    let settings = SgdSettings { common, momentum: 0.9, gradient_share: 1.0, nesterov: false };
    let start = normal(len, 1.0, 7);
    // Parameters and status after steps with these gradients.
    let train = |max_norm: f32, policy: f32, gradients: &[Vec<f32>]| {
        let mut launch = Launch::new();
        let settings = launch.buffer(settings.row().to_vec(), 0);
        let groups = launch.buffer(groups.iter().map(|&group| group as f32).collect(), 0);
        let status = launch.buffer(vec![0.0; status::LEN], 0);
        let g = launch.poisoned(len);
        let (p, momentum) = (launch.poisoned(len), launch.poisoned(len));
        let partials = launch.poisoned(2 * chunks);
        let (scalars, loss) = (launch.poisoned(scalars::LEN), launch.poisoned(1));
        let norm = kernels::gradient_norm::Operands { settings, groups, g, partials };
        let sgd = kernels::sgd::Operands { settings, groups, status, g, p, momentum };
        let dispatches = [
            kernels::gradient_norm::dispatch(len, (CHUNK, 0), &norm),
            kernels::clip_scale::dispatch(chunks, &Clip { scalars, loss, partials, status }),
            kernels::sgd::dispatch(len, true, &sgd),
        ];
        for dispatch in dispatches {
            let (label, operation) = ("launch".to_owned(), Operation::Dispatch(dispatch));
            launch.program.commands.push(Command { label, operation });
        }
        let names: Vec<String> =
            launch.program.buffers.iter().map(|spec| spec.name.clone()).collect();
        let name = |view: View| names[view.range.buffer.0 as usize].as_str();
        let session = device.session(&launch.program.into()).unwrap();
        session.write(name(settings), &launch.contents[0]).unwrap();
        session.write(name(groups), &launch.contents[1]).unwrap();
        session.write(name(p), &start).unwrap();
        session.write(name(momentum), &vec![0.0; len]).unwrap();
        session.write(name(status), &[0.0; status::LEN]).unwrap();
        session.write(name(scalars), &host_says(max_norm, policy)).unwrap();
        session.write(name(loss), &[1.0]).unwrap();
        for gradient in gradients {
            session.write(name(g), gradient).unwrap();
            session.run().unwrap();
        }
        (session.read(name(p)).unwrap(), session.read(name(status)).unwrap())
    };
    let (first, third) = (normal(len, 1.0, 1), normal(len, 1.0, 3));
    for value in [f32::NAN, f32::INFINITY] {
        let mut second = normal(len, 1.0, 2);
        second[bad_at] = value;
        let steps = [first.clone(), second, third.clone()];
        for max_norm in [f32::MAX, 0.5] {
            let (p, status) = train(max_norm, policy::PASS, &steps);
            let spoilt: Vec<usize> = (0..len).filter(|&i| !p[i].is_finite()).collect();
            match (max_norm, value.is_nan()) {
                (f32::MAX, _) => assert_eq!(spoilt, [bad_at]),
                // All gradients are scaled with a norm of NaN.
                (_, true) => assert_eq!(spoilt.len(), len),
                // An infinite norm scales all others to nothing.
                (_, false) => assert_eq!(spoilt, [bad_at]),
            }
            assert_eq!(status[status::APPLY], 1.0);

            let (p, status) = train(max_norm, policy::SKIP, &steps);
            let (want, _) = train(max_norm, policy::SKIP, &[first.clone(), third.clone()]);
            assert_eq!(p, want, "a step that is skipped");
            assert_eq!(status[status::KIND..=status::OFFSET], [kind::GRADIENT, 1.0, 130.0]);
            assert_eq!((status[status::APPLY], status[status::SKIPPED]), (1.0, 1.0));

            let (p, status) = train(max_norm, policy::ERROR, &steps);
            let (want, _) = train(max_norm, policy::ERROR, &steps[..1]);
            assert!(p == want && p != start, "steps after a halt");
            assert_eq!(status[status::KIND..=status::OFFSET], [kind::GRADIENT, 1.0, 130.0]);
            let [apply, halted, since] =
                [status::APPLY, status::HALTED, status::SINCE].map(|i| status[i]);
            assert_eq!((apply, halted, since), (0.0, 1.0, 2.0));
        }
    }
}
