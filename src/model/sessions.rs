//! Sessions of the shapes that were used last.

use std::ops::Deref;
use std::sync::Mutex;

use crate::device::Session;
use crate::error::Result;

/// Sessions of so many shapes are kept.
const KEPT: usize = 8;

/// Bytes of workspace that all kept sessions may take; the latest is kept whatever it takes.
const KEPT_BYTES: u64 = 512 << 20;

/// Timesteps and batch.
pub(crate) type Shape = (usize, usize);

/// The sessions of the shapes that were used last, the latest at the end.
///
/// A session that runs is out of the cache: nothing is locked meanwhile, and a second call of the
/// same shape, from another thread, gets a session of its own.
#[derive(Default)]
pub(crate) struct SessionCache(Mutex<Vec<(Shape, Session)>>);

impl SessionCache {
    /// The session of a shape, made by `make` where none is kept.
    pub(crate) fn take(
        &self,
        shape: Shape,
        make: impl FnOnce() -> Result<Session>,
    ) -> Result<InUse<'_>> {
        let mut kept = self.0.lock().unwrap_or_else(|e| e.into_inner());
        let known = kept.iter().rposition(|(known, _)| *known == shape).map(|at| kept.remove(at).1);
        drop(kept);
        let session = known.map_or_else(make, Ok)?;
        Ok(InUse { cache: self, shape, session: Some(session) })
    }

    fn put_back(&self, shape: Shape, session: Session) {
        let mut kept = self.0.lock().unwrap_or_else(|e| e.into_inner());
        kept.push((shape, session));
        let bytes = |kept: &[(Shape, Session)]| -> u64 {
            kept.iter().map(|(_, session)| session.program().workspace_bytes()).sum()
        };
        while kept.len() > 1 && (kept.len() > KEPT || bytes(&kept) > KEPT_BYTES) {
            kept.remove(0);
        }
    }
}

/// A session that is out of its cache until this is dropped.
pub(crate) struct InUse<'a> {
    cache: &'a SessionCache,
    shape: Shape,
    session: Option<Session>,
}

impl Deref for InUse<'_> {
    type Target = Session;

    fn deref(&self) -> &Session {
        // Only `drop` takes it.
        self.session.as_ref().unwrap_or_else(|| unreachable!("in use until it is dropped"))
    }
}

impl Drop for InUse<'_> {
    fn drop(&mut self) {
        if let Some(session) = self.session.take() {
            self.cache.put_back(self.shape, session);
        }
    }
}
