//! Arrays of strings or numbers as one text: items joined by `|`, with `\` and `|` escaped by `\`.

/// Joins items, escaping the separator. The empty array is the empty text.
pub fn join<'a>(items: impl IntoIterator<Item = &'a str>) -> String {
    let escaped: Vec<String> = items.into_iter().map(|item| item.replace('\\', "\\\\").replace('|', "\\|")).collect();
    escaped.join("|")
}

/// Splits a stored text at its unescaped separators; a lone final `\` stands for itself.
pub fn split(text: &str) -> Vec<String> {
    if text.is_empty() {
        return Vec::new();
    }
    let mut items = Vec::new();
    let mut item = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => item.push(chars.next().unwrap_or('\\')),
            '|' => items.push(std::mem::take(&mut item)),
            _ => item.push(c),
        }
    }
    items.push(item);
    items
}
