//! The kinds of queries. All queries of one kind read the same tables: if one of them waits for a lock, all do. No I/O.

use enum_map::Enum;

use crate::catalogue::resource::{Document, Resource};
use crate::telemetry::route_label::RouteLabel;

#[derive(Clone, Copy, Debug, Enum, PartialEq, Eq)]
pub(crate) enum QueryKind {
    /// `/products?page=&count=`
    Page,
    /// `/products?ids=`
    Products,
    Document(Document),
}

impl QueryKind {
    pub(crate) const COUNT: usize = <QueryKind as Enum>::LENGTH;

    pub(crate) fn all() -> impl Iterator<Item = QueryKind> {
        (0..QueryKind::COUNT).map(QueryKind::from_usize)
    }

    /// The kind of query that answers a resource.
    pub(crate) fn of(resource: &Resource) -> QueryKind {
        match resource {
            Resource::Page(_) => QueryKind::Page,
            Resource::Products(_) => QueryKind::Products,
            Resource::Document(document, _) => QueryKind::Document(*document),
        }
    }

    /// The route that it answers, as in the metrics and the log.
    pub(crate) fn label(self) -> RouteLabel {
        match self {
            QueryKind::Page => RouteLabel::Products,
            QueryKind::Products => RouteLabel::ProductsByIds,
            QueryKind::Document(Document::Product) => RouteLabel::Product,
            QueryKind::Document(Document::Styles) => RouteLabel::Styles,
            QueryKind::Document(Document::Related) => RouteLabel::Related,
            QueryKind::Document(Document::Profile) => RouteLabel::Profile,
        }
    }

    /// Whether one statement can answer several requests.
    pub(crate) fn is_batched(self) -> bool {
        matches!(self, QueryKind::Document(_))
    }
}

/// A set of kinds. Crates for such sets bring a dozen times as much code.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct QueryKinds(u8);

const _: () = assert!(QueryKind::COUNT <= u8::BITS as usize);

impl QueryKinds {
    pub(crate) const EMPTY: QueryKinds = QueryKinds(0);

    pub(crate) fn is_empty(self) -> bool {
        self == QueryKinds::EMPTY
    }

    pub(crate) fn contains(self, kind: QueryKind) -> bool {
        self.0 & QueryKinds::from(kind).0 != 0
    }

    pub(crate) fn with(self, kind: QueryKind) -> QueryKinds {
        self.union(kind.into())
    }

    pub(crate) fn without(self, kind: QueryKind) -> QueryKinds {
        self.intersection(QueryKinds::from(kind).complement())
    }

    pub(crate) fn union(self, other: QueryKinds) -> QueryKinds {
        QueryKinds(self.0 | other.0)
    }

    pub(crate) fn intersection(self, other: QueryKinds) -> QueryKinds {
        QueryKinds(self.0 & other.0)
    }

    pub(crate) fn complement(self) -> QueryKinds {
        QueryKinds(!self.0)
    }

    pub(crate) fn iter(self) -> impl Iterator<Item = QueryKind> {
        QueryKind::all().filter(move |kind| self.contains(*kind))
    }
}

impl From<QueryKind> for QueryKinds {
    fn from(kind: QueryKind) -> QueryKinds {
        QueryKinds(1 << kind.into_usize())
    }
}

impl FromIterator<QueryKind> for QueryKinds {
    fn from_iter<T: IntoIterator<Item = QueryKind>>(kinds: T) -> QueryKinds {
        kinds.into_iter().fold(QueryKinds::EMPTY, QueryKinds::with)
    }
}
