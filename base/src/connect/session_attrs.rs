//! `target_session_attrs`: which servers and sessions are accepted.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SessionAttrs {
    Any,
    ReadWrite,
    ReadOnly,
    Primary,
    Standby,
    PreferStandby,
}

impl SessionAttrs {
    pub(super) const ALL: [(&'static str, SessionAttrs); 6] = [
        ("any", SessionAttrs::Any),
        ("read-write", SessionAttrs::ReadWrite),
        ("read-only", SessionAttrs::ReadOnly),
        ("primary", SessionAttrs::Primary),
        ("standby", SessionAttrs::Standby),
        ("prefer-standby", SessionAttrs::PreferStandby),
    ];

    /// Whether a session that is read-only by default would be mistaken for a read-only server.
    pub(super) fn is_of_session(self) -> bool {
        matches!(self, SessionAttrs::ReadWrite | SessionAttrs::ReadOnly)
    }

    /// What is accepted in each round through the hosts.
    pub(super) fn rounds(self) -> &'static [SessionAttrs] {
        match self {
            SessionAttrs::Any => &[SessionAttrs::Any],
            SessionAttrs::ReadWrite => &[SessionAttrs::ReadWrite],
            SessionAttrs::ReadOnly => &[SessionAttrs::ReadOnly],
            SessionAttrs::Primary => &[SessionAttrs::Primary],
            SessionAttrs::Standby => &[SessionAttrs::Standby],
            SessionAttrs::PreferStandby => &[SessionAttrs::Standby, SessionAttrs::Any],
        }
    }

    /// Why a session is not accepted. The messages are libpq's.
    pub(super) fn refuses(self, found: &SessionState) -> Option<&'static str> {
        let (read_only, standby) = (found.read_only, found.standby);
        match self {
            SessionAttrs::ReadWrite if read_only => Some("session is read-only"),
            SessionAttrs::ReadOnly if !read_only => Some("session is not read-only"),
            SessionAttrs::Primary if standby => Some("server is in hot standby mode"),
            SessionAttrs::Standby if !standby => Some("server is not in hot standby mode"),
            _ => None,
        }
    }
}

#[derive(PartialEq, Eq)]
pub(super) struct SessionState {
    pub(super) backend: Option<String>,
    pub(super) marker: Option<String>,
    pub(super) standby: bool,
    pub(super) read_only: bool,
}
