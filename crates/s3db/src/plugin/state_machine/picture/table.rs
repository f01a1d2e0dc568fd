//! A vector that is read and written by index without a panic.
//!
//! The layout works on graphs as tables of numbers. Every index there comes from the tables
//! themselves, so a miss is a mistake in this module: debug builds stop on it, release builds
//! read the default and draw on.

/// A fixed-length table of small values.
#[derive(Debug, Clone, Default)]
pub(super) struct Table<T>(Vec<T>);

impl<T: Clone + Default> Table<T> {
    /// A table of `len` copies of `value`.
    pub(super) fn new(len: usize, value: T) -> Self {
        Self(vec![value; len])
    }

    /// The number of rows.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The rows in order.
    pub(super) fn iter(&self) -> std::slice::Iter<'_, T> {
        self.0.iter()
    }

    /// The rows as a vector.
    pub(super) fn into_rows(self) -> Vec<T> {
        self.0
    }

    /// Writes a row.
    pub(super) fn set(&mut self, index: usize, value: T) {
        debug_assert!(index < self.0.len(), "row {index} of {}", self.0.len());
        if let Some(row) = self.0.get_mut(index) {
            *row = value;
        }
    }

    /// Adds a row and gives its index.
    pub(super) fn push(&mut self, value: T) -> usize {
        self.0.push(value);
        self.0.len() - 1
    }
}

impl<T: Copy + Default> Table<T> {
    /// Reads a row.
    pub(super) fn at(&self, index: usize) -> T {
        debug_assert!(index < self.0.len(), "row {index} of {}", self.0.len());
        self.0.get(index).copied().unwrap_or_default()
    }
}

impl<T> Table<Vec<T>> {
    /// Reads a row that is a list.
    pub(super) fn list(&self, index: usize) -> &[T] {
        debug_assert!(index < self.0.len(), "row {index} of {}", self.0.len());
        self.0.get(index).map_or(&[], Vec::as_slice)
    }

    /// The list at a row, to be changed.
    pub(super) fn list_mut(&mut self, index: usize) -> Option<&mut Vec<T>> {
        debug_assert!(index < self.0.len(), "row {index} of {}", self.0.len());
        self.0.get_mut(index)
    }

    /// Adds a value to the list at a row.
    pub(super) fn add(&mut self, index: usize, value: T) {
        if let Some(list) = self.list_mut(index) {
            list.push(value);
        }
    }
}

impl<T> From<Vec<T>> for Table<T> {
    fn from(rows: Vec<T>) -> Self {
        Self(rows)
    }
}
