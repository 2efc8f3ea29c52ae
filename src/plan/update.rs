//! The optimizer step.

use std::fmt;

use super::parameters::ALIGNMENT;
use super::workspace::{Place, Planner};
use crate::command::Limits;
use crate::kernels::{UPDATE_TILE, View, adam, clip_scale, gradient_norm, rmsprop, sgd};
use crate::reference::status;

/// How parameters follow their gradients. What else there is to a rule is not part of a plan: a row
/// of [`SETTINGS`](crate::reference::SETTINGS) numbers for each group, fed with every run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rule {
    /// [`adam`](crate::reference::adam), with weight decay of either kind.
    Adam,
    /// [`sgd`](crate::reference::sgd).
    Sgd {
        /// Whether there is a momentum buffer.
        momentum: bool,
    },
    /// [`rmsprop`](crate::reference::rmsprop).
    RmsProp {
        /// Whether there is a momentum buffer.
        momentum: bool,
        /// Whether the mean of the gradient is subtracted.
        centered: bool,
    },
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, momentum, centered) = match *self {
            Rule::Adam => ("Adam", false, false),
            Rule::Sgd { momentum } => ("SGD", momentum, false),
            Rule::RmsProp { momentum, centered } => ("RMSprop", momentum, centered),
        };
        f.write_str(name)?;
        f.write_str(match (momentum, centered) {
            (false, false) => "",
            (true, false) => " with momentum",
            (false, true) => ", centered",
            (true, true) => ", centered, with momentum",
        })
    }
}

impl Rule {
    /// All of them.
    pub(crate) const ALL: [Rule; 7] = [
        Rule::Adam,
        Rule::Sgd { momentum: false },
        Rule::Sgd { momentum: true },
        Rule::RmsProp { momentum: false, centered: false },
        Rule::RmsProp { momentum: false, centered: true },
        Rule::RmsProp { momentum: true, centered: false },
        Rule::RmsProp { momentum: true, centered: true },
    ];

    /// Which of `moment_0`, `moment_1` and `moment_2` the rule has.
    pub fn moments(&self) -> [bool; 3] {
        match *self {
            Rule::Adam => [true, true, false],
            Rule::Sgd { momentum } => [momentum, false, false],
            Rule::RmsProp { momentum, centered } => [true, momentum, centered],
        }
    }
}

/// An optimizer step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Update {
    /// How parameters follow their gradients.
    pub rule: Rule,
    /// Groups of parameters, each with settings of its own.
    pub groups: usize,
    /// Whether the gradients' norm is taken, for clipping and to find what isn't finite. Without,
    /// `status` has to hold 1 as scale and as what says that the step applies.
    pub norm: bool,
}

/// Elements of the chunks in which the gradients' norm is taken on a device.
pub fn norm_chunk(limits: &Limits) -> usize {
    // Half, since a window may start before its elements do.
    let most = limits.max_binding / 2 / ALIGNMENT * ALIGNMENT;
    most.clamp(ALIGNMENT, gradient_norm::CHUNK)
}

impl Planner<'_> {
    /// The optimizer over the flat buffers, in chunks that a binding and a grid can hold.
    pub(super) fn update(&mut self, update: &Update) {
        let len = self.table.len;
        let groups = self.callers("groups", "[N / 64]", &[len / ALIGNMENT]);
        let status = self.callers("status", "[16]", &[status::LEN]);
        let settings = View::of(self.whole(self.named("settings")));
        if update.norm {
            self.gradient_norm(settings);
        }
        let moments: Vec<_> = (0..)
            .zip(update.rule.moments())
            .map(|(i, is)| match is {
                true => self.callers(&format!("moment_{i}"), "[N]", &[len]),
                // Nothing is written there, but a launch binds a buffer.
                false => self.workspace(&format!("no_moment_{i}"), "[1]", &[1]),
            })
            .collect();
        let (g, p) = (self.named("grads"), self.params);
        let status = View::of(self.whole(status));
        let chunk = self.flat_chunk(UPDATE_TILE, ALIGNMENT);
        for start in (0..len).step_by(chunk) {
            let count = chunk.min(len - start);
            let view = |buffer| self.window(Place { buffer, start }, count);
            let moment = |i: usize| match update.rule.moments()[i] {
                true => view(moments[i]),
                false => View::of(self.whole(moments[i])),
            };
            let blocks = Place { buffer: groups, start: start / ALIGNMENT };
            let groups = self.window(blocks, count.div_ceil(ALIGNMENT));
            let (g, p) = (view(g), view(p));
            let (name, dispatch) = match update.rule {
                Rule::Adam => {
                    let (m, v) = (moment(0), moment(1));
                    let at = adam::Operands { settings, groups, status, g, p, m, v };
                    ("adam", adam::dispatch(count, &at))
                }
                Rule::Sgd { momentum } => {
                    let at = sgd::Operands { settings, groups, status, g, p, momentum: moment(0) };
                    ("sgd", sgd::dispatch(count, momentum, &at))
                }
                Rule::RmsProp { momentum, centered } => {
                    let at = rmsprop::Operands {
                        settings,
                        groups,
                        status,
                        g,
                        p,
                        square_avg: moment(0),
                        momentum: moment(1),
                        grad_avg: moment(2),
                    };
                    let flags = rmsprop::Flags { momentum, centered };
                    ("rmsprop", rmsprop::dispatch(count, flags, &at))
                }
            };
            let label = if count == len { name.to_owned() } else { format!("{name} from {start}") };
            self.launch(label, dispatch);
        }
    }

    /// Elements of the flat buffers that one launch can hold, `each` a workgroup; a multiple of `unit`.
    fn flat_chunk(&self, each: usize, unit: usize) -> usize {
        let grid = (self.limits.max_workgroups as usize).saturating_mul(each);
        let most = self.limits.max_binding.min(grid);
        (most / unit * unit).max(unit).min(self.table.len)
    }

    /// The norm of the gradients, what they are scaled with, and whether all is finite.
    fn gradient_norm(&mut self, settings: View) {
        let len = self.table.len;
        let each = norm_chunk(self.limits);
        let chunks = len.div_ceil(each);
        let partials = self.workspace("norm_partials", "[chunks, 2]", &[chunks, 2]);
        let (g, groups) = (self.named("grads"), self.named("groups"));
        let chunk = self.flat_chunk(each, each);
        for start in (0..len).step_by(chunk) {
            let count = chunk.min(len - start);
            let blocks = Place { buffer: groups, start: start / ALIGNMENT };
            let operands = gradient_norm::Operands {
                settings,
                groups: self.window(blocks, count.div_ceil(ALIGNMENT)),
                g: self.window(Place { buffer: g, start }, count),
                partials: View::of(self.whole(partials)),
            };
            let part = (each, start / each);
            self.launch("gradient norm", gradient_norm::dispatch(count, part, &operands));
        }
        let view = |name| View::of(self.whole(self.named(name)));
        let operands = clip_scale::Operands {
            scalars: view("scalars"),
            loss: view("loss"),
            partials: view("norm_partials"),
            status: view("status"),
        };
        self.launch("clip scale", clip_scale::dispatch(chunks, &operands));
    }
}
