//! How answers are fetched: connections to PostgreSQL, and the queue in front of them.

pub(crate) mod batch;
pub(crate) mod connect;
pub(crate) mod connection;
pub(crate) mod connection_set;
pub(crate) mod flow;
pub(crate) mod kind_queue;
pub(crate) mod pending;
pub(crate) mod pool;
pub(crate) mod pooler;
pub(crate) mod queue;
pub(crate) mod reconnect;
pub(crate) mod status;
pub(crate) mod unavailable;
pub(crate) mod watch;
