//! Turns of the writers of several processes.
//!
//! SQLite's own waiting is a lottery that one process can lose for seconds. Two file locks make a
//! queue: who waits holds the first and takes the second next, so a writer that has just finished
//! cannot slip in before it.

use std::fs::File;
use std::path::Path;

use super::file_error;
use crate::Result;

#[derive(Debug)]
pub(super) struct Turn {
    queue: File,
    write: File,
}

/// Ends the turn when dropped. The kernel ends it if the process dies.
#[derive(Debug)]
pub(super) struct Held<'a>(&'a File);

impl Turn {
    pub(super) fn new(directory: &Path) -> Result<Self> {
        let open = |name: &str| {
            let path = directory.join(name);
            let file = File::options().create(true).truncate(false).write(true).open(&path);
            file.map_err(|e| file_error("open", &path, &e))
        };
        Ok(Self { queue: open("queue.lock")?, write: open("write.lock")? })
    }

    /// Waits for the turn.
    pub(super) fn take(&self) -> Result<Held<'_>> {
        let locked = self.queue.lock().and_then(|()| {
            let locked = self.write.lock();
            self.queue.unlock()?;
            locked
        });
        locked.map_err(|e| file_error("lock", Path::new("write.lock"), &e))?;
        Ok(Held(&self.write))
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        // Unlocking an own lock fails only if the descriptor is gone, and then the lock is too.
        let _gone = self.0.unlock();
    }
}
