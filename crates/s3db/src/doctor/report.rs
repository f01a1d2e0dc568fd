//! What was found.

use std::collections::BTreeMap;

use serde::Serialize;

/// Examples that a finding names.
const EXAMPLES: usize = 10;

/// The answer of [`crate::Database::doctor`].
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DoctorReport {
    /// What was looked at.
    pub checked: Checked,
    /// What was found, by resource and kind.
    pub findings: Vec<Finding>,
}

/// What was looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Checked {
    /// Resources.
    pub resources: usize,
    /// Records.
    pub records: usize,
    /// Index keys or references.
    pub keys: usize,
}

/// One thing that is wrong, as often as it was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// What it is.
    pub kind: FindingKind,
    /// The resource that it concerns.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// How often.
    pub count: usize,
    /// How often it was mended.
    pub repaired: usize,
    /// What it means.
    pub meaning: &'static str,
    /// What `--repair` does about it, or what to do where it can do nothing.
    pub action: &'static str,
    /// Some of them.
    pub examples: Vec<String>,
}

/// Kinds of findings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum FindingKind {
    /// A version that another program dropped from the catalog.
    LostVersion,
    /// A version without its immutable copy.
    MissingCopy,
    /// A record that cannot be read.
    DamagedRecord,
    /// A delete of a shared database that was begun and not finished.
    UnfinishedDelete,
    /// A partition whose index is not known to be complete.
    NoIndex,
    /// A record that one of its partitions does not list.
    MissingKey,
    /// A key that fits no record.
    StaleKey,
    /// Objects of a resource that the catalog does not have.
    LeftOverResource,
    /// Disposable objects of ours that nothing needs.
    LeftOver,
    /// A lease that cannot be read.
    DamagedLease,
    /// An entity of a state machine that cannot be read.
    DamagedEntity,
    /// A timer, or actions to be done, that no sweep would find.
    MissingDueKey,
    /// A key among what is due that no entity needs.
    StaleDueKey,
    /// A backup whose process died.
    UnfinishedBackup,
    /// A restore into this database that was not finished.
    UnfinishedRestore,
    /// What a plugin of somebody else found.
    OfPlugin,
}

impl FindingKind {
    fn meaning(self) -> &'static str {
        match self {
            Self::LostVersion => "versions are missing from the catalog: another program rewrote it",
            Self::MissingCopy => "versions have no copy that would survive a rewritten catalog",
            Self::DamagedRecord => "records cannot be read",
            Self::UnfinishedDelete => "deletes were begun and not finished; s3db.js still sees the records",
            Self::NoIndex => "partitions have no complete index, so all rows are read for them",
            Self::MissingKey => "records are missing from a partition",
            Self::StaleKey => "a partition has keys that fit no record",
            Self::LeftOverResource => "objects belong to a resource that the catalog does not have",
            Self::LeftOver => "disposable objects are left over",
            Self::DamagedLease => "leases cannot be read, so nobody can take them",
            Self::DamagedEntity => "entities of state machines cannot be read",
            Self::MissingDueKey => "timers or unfinished actions are not found by the sweep",
            Self::StaleDueKey => "keys of what is due belong to writes that came to nothing",
            Self::UnfinishedBackup => "backups were cut off, and their rows say that they run",
            Self::UnfinishedRestore => "a restore into this database was not finished",
            Self::OfPlugin => "a plugin found something",
        }
    }

    fn action(self) -> &'static str {
        match self {
            Self::LostVersion => "puts the versions back into the catalog",
            Self::MissingCopy => "stores the copies",
            Self::DamagedRecord => "cannot be mended: restore these records from a backup, or delete their objects",
            Self::UnfinishedDelete => "removes the references and then the records",
            Self::NoIndex => "reads all records and builds the index",
            Self::MissingKey => "puts the keys",
            Self::StaleKey => "removes the keys",
            Self::LeftOverResource => "is left to you: `s3db resource drop NAME --yes` removes the objects",
            Self::LeftOver => "removes the objects",
            Self::DamagedLease => "is left to you: stop all processes, then delete these objects",
            Self::DamagedEntity => "cannot be mended: restore these rows from a backup",
            Self::MissingDueKey => "puts the keys",
            Self::StaleDueKey => "removes the keys",
            Self::UnfinishedBackup => "corrects the rows; the next backup or cleanup sweeps their files",
            Self::UnfinishedRestore => "is left to you: run the restore again, and it goes on",
            Self::OfPlugin => "is left to the plugin",
        }
    }
}

impl DoctorReport {
    /// Whether nothing is wrong, or nothing is any more.
    pub fn is_healthy(&self) -> bool {
        self.findings.iter().all(|f| f.repaired == f.count)
    }
}

/// Findings as they come in.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    pub(super) checked: Checked,
    by_kind: BTreeMap<(Option<String>, FindingKind), Tally>,
}

#[derive(Debug, Default)]
struct Tally {
    count: usize,
    repaired: usize,
    examples: Vec<String>,
}

impl Findings {
    pub(crate) fn add(&mut self, kind: FindingKind, resource: Option<&str>, example: String, repaired: bool) {
        let tally = self.by_kind.entry((resource.map(str::to_owned), kind)).or_default();
        tally.count += 1;
        tally.repaired += usize::from(repaired);
        if tally.examples.len() < EXAMPLES {
            tally.examples.push(example);
        }
    }

    pub(crate) fn report(self) -> DoctorReport {
        let findings = self.by_kind.into_iter().map(|((resource, kind), tally)| Finding {
            kind,
            resource,
            count: tally.count,
            repaired: tally.repaired,
            meaning: kind.meaning(),
            action: kind.action(),
            examples: tally.examples,
        });
        DoctorReport { checked: self.checked, findings: findings.collect() }
    }
}
