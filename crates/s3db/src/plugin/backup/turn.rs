//! The lease of backups: who makes a backup, changes its keys or restores into a database has it meanwhile.

use crate::lease::Lease;

/// The name of the lease.
pub(super) const LEASE: &str = "backup";

/// Whom a lease or a lock names: what is done, and by which process.
pub(super) fn owner(what: &str) -> String {
    format!("{what} by process {}", std::process::id())
}

/// Releases the lease. What was done under it stands, so a failure is only told.
pub(super) async fn release(lease: Lease) {
    if let Err(error) = lease.release().await {
        tracing::warn!(target: "s3db::backup", %error, "the lease of backups was not released; it is free in 30 s");
    }
}
