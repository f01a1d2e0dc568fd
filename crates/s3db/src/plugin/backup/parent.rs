//! What an incremental or differential backup builds on.

use super::Core;
use super::capture::Base;
use super::chain::{Chain, LONGEST};
use super::ids::BackupType;
use super::survey::{Copy, Survey, open_chain};
use crate::error::Result;

/// What a backup will be.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) kind: BackupType,
    pub(super) base: Option<Base>,
    pub(super) parent: Option<String>,
    /// Why it is not what was asked for.
    pub(super) reason: Option<String>,
    pub(super) sequence: u64,
    /// Objects of the newest backup.
    pub(super) expected: u64,
}

impl Core {
    /// Chooses a parent: the newest backup of the same database and the same resources that every destination
    /// has whole and that can be read. Without one the backup is a full one, and says why. `everywhere` is what
    /// stands at all destinations, `surveys` at those that are to take it.
    pub(super) async fn plan(
        &self,
        kind: BackupType,
        source: &str,
        surveys: &[&Survey],
        everywhere: &[&Survey],
    ) -> Result<Plan> {
        let own = |copy: &&Copy| copy.manifest.source == source;
        let newest = everywhere.iter().filter_map(|s| s.complete.iter().find(own)).max_by_key(|c| c.manifest.sequence);
        let mut plan = Plan {
            kind: BackupType::Full,
            base: None,
            parent: None,
            reason: None,
            sequence: newest.map_or(1, |copy| copy.manifest.sequence + 1),
            expected: newest.map_or(0, |copy| copy.manifest.counts.objects),
        };
        let Some(first) = surveys.first().filter(|_| kind != BackupType::Full) else { return Ok(plan) };
        let scope = self.scope.digest();
        let mut reason = None;
        for copy in first.complete.iter().filter(own) {
            if kind == BackupType::Differential && copy.manifest.kind != BackupType::Full {
                continue;
            }
            match self.try_parent(copy, &scope, surveys).await? {
                Ok(chain) => {
                    plan.kind = kind;
                    plan.parent = Some(copy.manifest.id.clone());
                    let safe_before_ms = copy.manifest.started_ms() - self.margin_ms();
                    plan.base = Some(Base { chain, safe_before_ms });
                    return Ok(plan);
                }
                Err(why) => {
                    reason.get_or_insert(why);
                }
            }
        }
        let wanted = if kind == BackupType::Differential { "full backup" } else { "backup" };
        plan.reason = Some(reason.unwrap_or_else(|| format!("there is no {wanted} of this database yet")));
        Ok(plan)
    }

    /// Opens a backup as a parent, or says why it cannot be one.
    async fn try_parent(
        &self,
        copy: &Copy,
        scope: &str,
        surveys: &[&Survey],
    ) -> Result<std::result::Result<Chain, String>> {
        let id = &copy.manifest.id;
        if copy.manifest.scope != scope {
            return Ok(Err(format!("{id} was made of other resources")));
        }
        for survey in surveys {
            if let Some(flaw) = survey.flaw(id) {
                return Ok(Err(flaw));
            }
            let length = survey.line_of(id)?.len();
            if length >= LONGEST {
                return Ok(Err(format!("{id} builds on {} others already", length - 1)));
            }
        }
        let Some(survey) = surveys.first() else { return Ok(Err("no destination can be read".into())) };
        let chain = match open_chain(self, &survey.line_of(id)?).await {
            Ok(chain) => chain,
            Err(error) if error.kind() == crate::error::ErrorKind::Integrity => return Ok(Err(error.to_string())),
            Err(error) => return Err(error),
        };
        let locked = chain.0.iter().find(|archive| !archive.is_open());
        Ok(match locked {
            None => Ok(chain),
            Some(archive) => Err(format!(
                "{} is encrypted and no key that opens it was given (encryption.identityFiles, or the passphrase)",
                archive.manifest.id
            )),
        })
    }
}
