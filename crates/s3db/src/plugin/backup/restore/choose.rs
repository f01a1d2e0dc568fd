//! Which copies a restore reads: for each backup of the chain the first one that is whole.

use std::sync::Arc;

use super::super::Core;
use super::super::archive::Archive;
use super::super::chain::{Chain, LONGEST};
use super::super::list::nowhere;
use super::super::manifest::DELETING;
use super::super::progress::Tracker;
use super::super::survey::Survey;
use super::super::verify::prove;
use crate::error::{Error, ErrorKind, Result};

/// Copies that were read and found whole.
pub(in super::super) struct Chosen {
    pub(super) chain: Chain,
    pub(super) files: u64,
    /// Copies that were not whole.
    pub(super) warnings: Vec<String>,
}

impl Core {
    /// Reads and checks every file of a backup and of what it builds on.
    pub(in super::super) async fn choose(&self, id: &str, tracker: &Tracker<'_>) -> Result<Chosen> {
        let surveys = self.surveys().await?;
        let mut archives = Vec::new();
        let mut chosen = Chosen { chain: Chain(Vec::new()), files: 0, warnings: Vec::new() };
        let mut wanted = Some(id.to_owned());
        while let Some(id) = wanted.take() {
            if archives.len() >= LONGEST {
                return Err(Error::new(
                    ErrorKind::Integrity,
                    format!("backup '{id}' builds on more than {LONGEST} others"),
                ));
            }
            let child = archives.last().map(|archive: &Arc<Archive>| archive.manifest.id.clone());
            let archive = match (self.first_whole(&id, &surveys, tracker, &mut chosen).await, child) {
                (Err(error), Some(child)) if error.kind() == ErrorKind::NotFound => {
                    return Err(Error::new(
                        ErrorKind::Integrity,
                        format!("backup '{child}' builds on '{id}', which is not there"),
                    )
                    .guide("restore a backup that is whole, or bring that one back from another copy"));
                }
                (first, _) => first?,
            };
            wanted = archive.0.first().and_then(|archive| archive.manifest.parent.clone());
            archives.extend(archive.0);
        }
        archives.reverse();
        chosen.chain = Chain(archives);
        Ok(chosen)
    }

    async fn first_whole(
        &self,
        id: &str,
        surveys: &[Survey],
        tracker: &Tracker<'_>,
        chosen: &mut Chosen,
    ) -> Result<Chain> {
        let mut last: Option<Error> = None;
        for survey in surveys {
            let Some(copy) = survey.find(id) else {
                if let Some(error) = survey.line_of(id).err().filter(|_| last.is_none()) {
                    last = Some(error);
                }
                continue;
            };
            // The lock stands; a mark that came before it wins.
            let mark = format!("{}{DELETING}", copy.standing.folder);
            if copy.place.shelf.get(&mark).await?.is_some() {
                last = Some(Error::new(ErrorKind::NotFound, format!("backup '{id}' is being deleted")));
                continue;
            }
            let proven = async {
                let chain = Chain(vec![Arc::new(copy.open(self).await?)]);
                let (files, _) = prove(&chain, tracker).await?;
                Ok::<_, Error>((chain, files))
            };
            match proven.await {
                Ok((chain, files)) => {
                    chosen.files += files;
                    return Ok(chain);
                }
                Err(error) => {
                    let why = format!("the copy of {id} at {} is passed over: {error}", copy.place.location());
                    tracing::warn!(target: "s3db::backup", "{why}");
                    chosen.warnings.push(why);
                    last = Some(error);
                }
            }
        }
        Err(nowhere(id, last))
    }
}
