//! Workspaces, and the sessions over them of the shapes that were used last.

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::device::{Buffer, Device, IdleMemory, Session};
use crate::error::Result;
use crate::plan::{Plan, Sequences};

/// Sessions of so many shapes are kept in one workspace.
const KEPT: usize = 16;

/// Bytes that the commands of kept sessions may take: a twentieth of their workspace, and always
/// this much.
const KEPT_COMMANDS: u64 = 64 << 10;

/// Workspaces that nobody uses are kept, the latest whatever it takes, up to so many bytes.
const KEPT_BYTES: u64 = 512 << 20;

/// What tells the plans of one cache apart: the call, and which of the model's plans it is.
pub(crate) type Key = (Sequences, &'static str);

/// A plan over the buffers of a workspace.
pub(crate) struct Ready {
    pub(crate) plan: Plan,
    pub(crate) session: Session,
}

/// Buffers that sessions of all shapes share, as large as the largest needs them, and the sessions
/// of the shapes that were used last, the latest at the end.
///
/// A buffer that is too small is replaced; sessions over the old one are dropped with it.
#[derive(Default)]
struct Workspace {
    buffers: HashMap<String, Buffer>,
    sessions: Vec<(Key, Ready)>,
    /// What callers were given last and may have let go since.
    given: Vec<Buffer>,
}

impl Workspace {
    fn bytes(&self) -> u64 {
        let all = self.buffers.values().chain(&self.given);
        all.map(|buffer| 4 * buffer.len() as u64).sum()
    }

    /// Binds a plan to the workspace's buffers, once they are large enough.
    fn bind(&mut self, device: &Device, plan: Plan, caller: &[(&str, &Buffer)]) -> Result<Ready> {
        let caller_has = |name: &str| caller.iter().any(|(given, _)| *given == name);
        let needs: Vec<(&str, usize)> = plan
            .program
            .buffers
            .iter()
            .filter(|spec| !caller_has(&spec.name))
            .map(|spec| (spec.name.as_str(), spec.len * spec.slots))
            .collect();
        // All old ones go before the new ones come, so that memory holds one of each.
        for (name, len) in &needs {
            if self.buffers.get(*name).is_some_and(|buffer| buffer.len() < *len) {
                self.sessions.clear();
                self.buffers.remove(*name);
            }
        }
        let mut new = HashMap::new();
        for (name, len) in &needs {
            if !self.buffers.contains_key(*name) {
                new.insert((*name).to_owned(), device.create_buffer(name, *len)?);
            }
        }
        let mut given = caller.to_vec();
        let known = |name: &str| self.buffers.get(name).or_else(|| new.get(name));
        given.extend(needs.iter().filter_map(|(name, _)| Some((*name, known(name)?))));
        let session = device.bind(&plan.program, &given)?;
        // Not before: where memory is short, what was taken is given back.
        self.buffers.extend(new);
        Ok(Ready { plan, session })
    }

    /// Forgets the oldest sessions where there are too many.
    fn trim(&mut self, commands_kept: u64) {
        let most = (self.bytes() / 20).max(commands_kept);
        let commands = |sessions: &[(Key, Ready)]| -> u64 {
            sessions.iter().map(|(_, ready)| ready.session.command_bytes()).sum()
        };
        while self.sessions.len() > 1
            && (self.sessions.len() > KEPT || commands(&self.sessions) > most)
        {
            self.sessions.remove(0);
        }
    }
}

/// Bytes that the commands of a trainer's sessions may take: it needs those of a few shapes in turn.
const TRAINING_COMMANDS: u64 = 32 << 20;

/// Workspaces that nobody uses: the device takes them where its memory is short.
#[derive(Default)]
struct Idle(Mutex<Vec<Workspace>>);

impl Idle {
    fn lock(&self) -> MutexGuard<'_, Vec<Workspace>> {
        self.0.lock().unwrap_or_else(|e| e.into_inner())
    }
}

impl IdleMemory for Idle {
    fn give_up(&self) -> u64 {
        std::mem::take(&mut *self.lock()).iter().map(Workspace::bytes).sum()
    }
}

/// The workspaces of a model that nobody uses.
///
/// A session that runs is out of the cache with its workspace: nothing is locked meanwhile, and a
/// second call, from another thread, gets a workspace of its own.
/// Clones are the same cache.
#[derive(Clone)]
pub(crate) struct SessionCache {
    idle: Arc<Idle>,
    commands: u64,
}

impl SessionCache {
    pub(crate) fn new(device: &Device) -> SessionCache {
        SessionCache::keeping(device, KEPT_COMMANDS)
    }

    /// A trainer's.
    pub(crate) fn of_training(device: &Device) -> SessionCache {
        SessionCache::keeping(device, TRAINING_COMMANDS)
    }

    fn keeping(device: &Device, commands: u64) -> SessionCache {
        let idle = Arc::new(Idle::default());
        let known: Arc<dyn IdleMemory> = idle.clone();
        device.knows_idle(Arc::downgrade(&known));
        SessionCache { idle, commands }
    }

    /// Lets all of them go.
    pub(crate) fn release(&self) {
        self.idle.give_up();
    }

    /// The session of a key, planned by `plan` where none is kept.
    pub(crate) fn take(
        &self,
        key: Key,
        device: &Device,
        plan: impl FnOnce() -> Result<Plan>,
        caller: &[(&str, &Buffer)],
    ) -> Result<InUse> {
        let mut idle = self.idle.lock();
        let knows =
            |workspace: &Workspace| workspace.sessions.iter().any(|(known, _)| *known == key);
        let known = idle.iter().rposition(knows);
        let at = known.or_else(|| idle.len().checked_sub(1));
        let workspace = at.map(|at| idle.remove(at)).unwrap_or_default();
        drop(idle);
        // From here on it goes back, whatever happens.
        let mut used = InUse { cache: self.clone(), key, workspace, ready: None };
        let sessions = &mut used.workspace.sessions;
        let ready = match sessions.iter().rposition(|(known, _)| *known == key) {
            Some(at) => sessions.remove(at).1,
            None => used.workspace.bind(device, plan()?, caller)?,
        };
        used.ready = Some(ready);
        Ok(used)
    }

    fn put_back(&self, workspace: Workspace) {
        let mut idle = self.idle.lock();
        idle.push(workspace);
        while idle.len() > 1 && idle.iter().map(Workspace::bytes).sum::<u64>() > KEPT_BYTES {
            idle.remove(0);
        }
    }
}

/// Results that a workspace remembers: the one that a caller still has while it asks for the next.
const GIVEN: usize = 2;

/// A session that is out of its cache until this is dropped.
pub(crate) struct InUse {
    cache: SessionCache,
    key: Key,
    workspace: Workspace,
    ready: Option<Ready>,
}

impl InUse {
    /// A buffer for a result that the caller keeps: one that it has let go, or a new one.
    pub(crate) fn result(&mut self, device: &Device, len: usize) -> Result<Buffer> {
        let given = &mut self.workspace.given;
        // Those that are too small, or larger than it takes, would only be in the way.
        let mut free = None;
        for mut buffer in std::mem::take(given) {
            match buffer.is_unshared() {
                true if free.is_none() && buffer.len() == len => free = Some(buffer),
                true => {}
                false => given.push(buffer),
            }
        }
        let buffer = match free {
            Some(buffer) => buffer,
            None => device.create_buffer("result", len)?,
        };
        let excess = (given.len() + 1).saturating_sub(GIVEN);
        given.drain(..excess);
        given.push(buffer.clone());
        Ok(buffer)
    }

    /// Lets the workspace go, where memory is short: nothing of it is kept for the next call.
    pub(crate) fn give_up(mut self) {
        self.ready = None;
        self.workspace = Workspace::default();
    }
}

impl Deref for InUse {
    type Target = Ready;

    fn deref(&self) -> &Ready {
        // Only `drop` takes it.
        self.ready.as_ref().unwrap_or_else(|| unreachable!("in use until it is dropped"))
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        let mut workspace = std::mem::take(&mut self.workspace);
        if let Some(ready) = self.ready.take() {
            workspace.sessions.push((self.key, ready));
        }
        workspace.trim(self.cache.commands);
        self.cache.put_back(workspace);
    }
}

/// Sessions whose commands stand in callers' encoders: each with a workspace of its own, which no
/// other call touches before the caller submits, and kept until they are let go.
#[cfg(feature = "gpu")]
#[derive(Default)]
pub(crate) struct RecordedSessions(Mutex<HashMap<Key, Arc<Ready>>>);

#[cfg(feature = "gpu")]
impl RecordedSessions {
    /// The session of a key, planned by `plan` the first time.
    pub(crate) fn get(
        &self,
        key: Key,
        device: &Device,
        plan: impl FnOnce() -> Result<Plan>,
        caller: &[(&str, &Buffer)],
    ) -> Result<Arc<Ready>> {
        let mut kept = self.0.lock().unwrap_or_else(|e| e.into_inner());
        if let Some(ready) = kept.get(&key) {
            return Ok(ready.clone());
        }
        let plan = plan()?;
        let session = device.bind(&plan.program, caller)?;
        let ready = Arc::new(Ready { plan, session });
        kept.insert(key, ready.clone());
        Ok(ready)
    }

    /// Whether the session of a key is there.
    pub(crate) fn has(&self, key: &Key) -> bool {
        self.0.lock().unwrap_or_else(|e| e.into_inner()).contains_key(key)
    }

    /// Lets all of them go; encoders that hold their commands keep what they need.
    pub(crate) fn release(&self) {
        self.0.lock().unwrap_or_else(|e| e.into_inner()).clear();
    }
}
