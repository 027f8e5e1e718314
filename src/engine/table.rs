//! A table whose keys are handed out by itself, so that looking one up cannot fail.

use std::marker::PhantomData;
use std::ops::{Index, IndexMut};

/// A key of a [`Table`].
pub(super) trait Key: Copy {
    /// The key of the row at `row`.
    fn from_row(row: usize) -> Self;
    /// The row of this key.
    fn row(self) -> usize;
}

/// Rows that are only ever appended.
#[derive(Clone, Debug)]
pub(super) struct Table<K, T> {
    rows: Vec<T>,
    keys: PhantomData<K>,
}

impl<K: Key, T> Table<K, T> {
    pub(super) fn keys(&self) -> impl Iterator<Item = K> + use<K, T> {
        (0..self.rows.len()).map(K::from_row)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (K, &T)> {
        self.rows
            .iter()
            .enumerate()
            .map(|(row, value)| (K::from_row(row), value))
    }
}

impl<K: Key, T> FromIterator<T> for Table<K, T> {
    fn from_iter<I: IntoIterator<Item = T>>(rows: I) -> Self {
        Self {
            rows: rows.into_iter().collect(),
            keys: PhantomData,
        }
    }
}

#[expect(
    clippy::indexing_slicing,
    reason = "keys come from this table, and rows are never removed"
)]
impl<K: Key, T> Index<K> for Table<K, T> {
    type Output = T;
    fn index(&self, key: K) -> &T {
        &self.rows[key.row()]
    }
}

#[expect(
    clippy::indexing_slicing,
    reason = "keys come from this table, and rows are never removed"
)]
impl<K: Key, T> IndexMut<K> for Table<K, T> {
    fn index_mut(&mut self, key: K) -> &mut T {
        &mut self.rows[key.row()]
    }
}
