//! Listings in the order of names, as servers over file systems make them.

use std::cmp::Ordering;

use s3db_store::{Entry, List, Page, Result, Store};

/// A page in the order of names. A token is the last key of its page.
pub(crate) async fn by_names(store: &dyn Store, list: List) -> Result<Page> {
    let mut all: Vec<(String, Option<Entry>)> = Vec::new();
    let mut token = None;
    loop {
        let whole = List { start_after: None, token, max_keys: List::MAX_KEYS, ..list.clone() };
        let page = store.list(whole).await?;
        all.extend(page.entries.into_iter().map(|e| (e.key.clone(), Some(e))));
        all.extend(page.prefixes.into_iter().map(|p| (p, None)));
        token = page.next;
        if token.is_none() {
            break;
        }
    }
    all.sort_by(|(a, _), (b, _)| in_names(a, b));
    if let Some(after) = list.token.as_ref().or(list.start_after.as_ref()) {
        all.retain(|(key, _)| in_names(key, after) == Ordering::Greater);
    }
    let last = all.get(list.max_keys.saturating_sub(1)).map(|(key, _)| key.clone());
    let next = last.filter(|_| all.len() > list.max_keys);
    let mut page = Page { next, ..Page::default() };
    for (key, entry) in all.into_iter().take(list.max_keys) {
        match entry {
            Some(entry) => page.entries.push(entry),
            None => page.prefixes.push(key),
        }
    }
    Ok(page)
}

/// Compares keys segment by segment.
fn in_names(a: &str, b: &str) -> Ordering {
    a.split('/').cmp(b.split('/'))
}
