//! The queue from which the lanes of a command take tables.

use std::collections::VecDeque;

use parking_lot::Mutex;

pub(crate) struct Queue<T>(Mutex<VecDeque<T>>);

impl<T> Queue<T> {
    pub(crate) fn new(items: impl IntoIterator<Item = T>) -> Queue<T> {
        Queue(Mutex::new(items.into_iter().collect()))
    }

    pub(crate) fn pop(&self) -> Option<T> {
        self.0.lock().pop_front()
    }

    pub(crate) fn push(&self, item: T) {
        self.0.lock().push_back(item);
    }
}
