//! What crashes and lost writes leave of machines, for `doctor`: the index of what is due, rebuilt from the
//! entities.

use std::collections::BTreeSet;

use s3db_format::keys::{self, Due};
use s3db_store::List;

use super::Core;
use super::due;
use super::entity::Entity;
use crate::doctor::{Finding, FindingKind, Findings};
use crate::error::{Error, ErrorKind, Result};
use crate::query::Query;
use crate::resource::Resource;

/// Younger keys may belong to a write that is under way.
const OLD_MS: i64 = 3_600_000;

impl Core {
    /// Every timer and every unfinished action has its key, and every old key is needed.
    pub(super) async fn check(&self, repair: bool) -> Result<Vec<Finding>> {
        let mut findings = Findings::default();
        let Some(states) = self.states().await? else { return Ok(Vec::new()) };
        let keys = self.due_keys().await?;
        let present: BTreeSet<&Due> = keys.iter().map(|(due, _)| due).collect();
        let mut needed: BTreeSet<Due> = BTreeSet::new();
        let mut rows = states.stream(&Query::all()).await?;
        while let Some(record) = rows.next().await? {
            match Entity::read(&record.id, &record.attributes) {
                Ok(entity) => {
                    for due in due::all(&entity) {
                        if !present.contains(&due) {
                            self.check_missing(&states, &record.id, &due, repair, &mut findings).await?;
                        }
                        needed.insert(due);
                    }
                }
                Err(error) => damaged(&mut findings, states.name(), &record.id, &error)?,
            }
        }
        for (due, _) in keys.iter().filter(|(due, age_ms)| *age_ms > OLD_MS && !needed.contains(due)) {
            self.check_stale(due, repair, &mut findings).await?;
        }
        Ok(findings.report().findings)
    }

    async fn due_keys(&self) -> Result<Vec<(Due, i64)>> {
        let inner = &self.db()?.inner;
        let now_ms = self.now_ms();
        let mut found = Vec::new();
        let mut token = None;
        loop {
            let page = inner.list(List { token, ..List::prefix(keys::DUE) }).await?;
            found.extend(page.entries.iter().filter_map(|e| Some((Due::parse(&e.key)?, now_ms - e.modified_ms))));
            token = page.next;
            if token.is_none() {
                return Ok(found);
            }
        }
    }

    /// What looked missing while others write is read again before it counts.
    async fn check_missing(
        &self,
        states: &Resource,
        id: &str,
        due: &Due,
        repair: bool,
        findings: &mut Findings,
    ) -> Result<()> {
        let inner = &self.db()?.inner;
        let Some(record) = states.find(id).await? else { return Ok(()) };
        let still = due::all(&Entity::read(id, &record.attributes)?).contains(due);
        if !still || inner.head(&due.key()).await?.is_some() {
            return Ok(());
        }
        if repair {
            self.put_due(std::slice::from_ref(due)).await?;
        }
        findings.add(FindingKind::MissingDueKey, Some(states.name()), due.key(), repair);
        Ok(())
    }

    async fn check_stale(&self, due: &Due, repair: bool, findings: &mut Findings) -> Result<()> {
        let names = due::names(due);
        let confirmed = self.load(&names).await?.is_some_and(|seen| due::is_needed(&seen.entity, due));
        if confirmed {
            return Ok(());
        }
        if repair {
            self.db()?.inner.delete_plain(&[due.key()]).await?;
        }
        findings.add(FindingKind::StaleDueKey, None, due.key(), repair);
        Ok(())
    }
}

fn damaged(findings: &mut Findings, resource: &str, id: &str, error: &Error) -> Result<()> {
    if error.kind() != ErrorKind::Integrity {
        return Err(error.clone());
    }
    findings.add(FindingKind::DamagedEntity, Some(resource), format!("{id}: {error}"), false);
    Ok(())
}
