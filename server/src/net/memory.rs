//! Memory of client connections: buffers of the process and of the kernel, in bytes. Each connection has an account, and
//! all connections of a worker have one budget. No I/O.

use std::cell::{Cell, OnceCell};
use std::rc::Rc;

/// What all connections of one worker may hold together.
pub(crate) struct MemoryBudget {
    limit: usize,
    /// An upper bound: only the kernel knows how much clients have acknowledged.
    held: Cell<usize>,
    /// Held by connections that are being closed. Not part of `held`.
    closing: Cell<usize>,
    /// If `held` exceeds this, `reclaim` is called.
    reclaim_at: Cell<usize>,
    reclaim: OnceCell<Box<dyn Fn()>>,
}

impl MemoryBudget {
    pub(crate) fn new(limit: usize) -> MemoryBudget {
        MemoryBudget {
            limit,
            held: Cell::default(),
            closing: Cell::default(),
            reclaim_at: Cell::new(limit),
            reclaim: OnceCell::new(),
        }
    }

    /// Sets what is called when too much is held: it finds out how much that really is, and closes connections if necessary.
    pub(crate) fn on_exceeded(&self, reclaim: impl Fn() + 'static) {
        let _ = self.reclaim.set(Box::new(reclaim));
    }

    pub(crate) fn held(&self) -> usize {
        self.held.get()
    }

    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    /// How much is made free when the limit is exceeded.
    pub(crate) fn headroom(&self) -> usize {
        self.limit / 8
    }

    pub(crate) fn is_exceeded(&self) -> bool {
        self.held.get() > self.limit
    }

    /// Whether closing connections hold so much that others must not read more before they are gone.
    pub(crate) fn is_closing_much(&self) -> bool {
        self.closing.get() > self.headroom()
    }

    fn add(&self, bytes: usize) {
        self.held.set(self.held.get() + bytes);
        if self.held.get() > self.reclaim_at.get()
            && let Some(reclaim) = self.reclaim.get()
        {
            self.reclaim_at.set(usize::MAX); // `held` changes meanwhile
            reclaim();
            self.reclaim_at.set(self.limit.max(self.held.get() + self.headroom()));
        }
    }

    fn subtract(&self, bytes: usize) {
        self.held.set(self.held.get().saturating_sub(bytes));
        if self.reclaim_at.get() > self.limit {
            let lower = self.limit.max(self.held.get() + self.headroom());
            self.reclaim_at.set(lower.min(self.reclaim_at.get()));
        }
    }

    fn begin_closing(&self, bytes: usize) {
        self.subtract(bytes);
        self.closing.set(self.closing.get() + bytes);
    }

    fn end_closing(&self, bytes: usize) {
        self.closing.set(self.closing.get().saturating_sub(bytes));
    }
}

/// What one connection holds.
pub(crate) struct ConnectionMemory {
    budget: Rc<MemoryBudget>,
    /// Without buffered data.
    base: Cell<usize>,
    /// Bytes that were read and do not belong to a complete request.
    received: Cell<usize>,
    /// Bytes in the kernel's send queue, at most.
    send_queue: Cell<usize>,
    /// What it held when closing began. From then on its account does not change.
    closing: Cell<Option<usize>>,
}

impl ConnectionMemory {
    pub(crate) fn new(budget: &Rc<MemoryBudget>, base: usize) -> ConnectionMemory {
        budget.add(base);
        ConnectionMemory {
            budget: Rc::clone(budget),
            base: Cell::new(base),
            received: Cell::default(),
            send_queue: Cell::default(),
            closing: Cell::default(),
        }
    }

    pub(crate) fn budget(&self) -> &MemoryBudget {
        &self.budget
    }

    /// Received bytes count twice: the kernel may hold as many.
    pub(crate) fn held(&self) -> usize {
        self.base.get() + 2 * self.received.get() + self.send_queue.get()
    }

    pub(crate) fn set_base(&self, bytes: usize) {
        self.set(&self.base, bytes);
    }

    pub(crate) fn received(&self) -> usize {
        self.received.get()
    }

    pub(crate) fn set_received(&self, bytes: usize) {
        self.set(&self.received, bytes);
    }

    pub(crate) fn send_queue(&self) -> usize {
        self.send_queue.get()
    }

    pub(crate) fn set_send_queue(&self, bytes: usize) {
        self.set(&self.send_queue, bytes);
    }

    /// The connection is about to be closed, without waiting for the client to acknowledge anything.
    pub(crate) fn begin_closing(&self) {
        if !self.is_closing() {
            self.closing.set(Some(self.held()));
            self.budget.begin_closing(self.held());
        }
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.closing.get().is_some()
    }

    fn set(&self, part: &Cell<usize>, bytes: usize) {
        let before = self.held();
        part.set(bytes);
        if self.is_closing() {
            return;
        }
        let now = self.held();
        if now > before {
            self.budget.add(now - before);
        } else {
            self.budget.subtract(before - now);
        }
    }
}

impl Drop for ConnectionMemory {
    fn drop(&mut self) {
        match self.closing.get() {
            None => self.budget.subtract(self.held()),
            Some(held) => self.budget.end_closing(held),
        }
    }
}
