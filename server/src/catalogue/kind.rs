//! What a statement is for. Requests of one kind read the same tables: where one of them waits for a lock, all do.
//! Pure: no I/O.

use crate::http::route::{Document, Name, Resource};

/// What a statement is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `/products?page=&count=`
    Page,
    /// `/products?ids=`
    Products,
    /// `/products/:product_id`
    Product,
    /// `/products/:product_id/styles`
    Styles,
    /// `/products/:product_id/related`
    Related,
    /// `/products/:product_id/profile`
    Profile,
}

impl Kind {
    /// All of them, in the order of their discriminants.
    pub const ALL: [Kind; 6] =
        [Kind::Page, Kind::Products, Kind::Product, Kind::Styles, Kind::Related, Kind::Profile];

    /// What a resource is answered with.
    pub fn of(resource: &Resource) -> Kind {
        match resource {
            Resource::Page(_) => Kind::Page,
            Resource::Products(_) => Kind::Products,
            Resource::Document(Document::Product, _) => Kind::Product,
            Resource::Document(Document::Styles, _) => Kind::Styles,
            Resource::Document(Document::Related, _) => Kind::Related,
            Resource::Document(Document::Profile, _) => Kind::Profile,
        }
    }

    /// The route, as in the metrics.
    pub fn name(self) -> Name {
        match self {
            Kind::Page => Name::Products,
            Kind::Products => Name::ProductsByIds,
            Kind::Product => Name::Product,
            Kind::Styles => Name::Styles,
            Kind::Related => Name::Related,
            Kind::Profile => Name::Profile,
        }
    }

    /// Whether one statement can answer several requests.
    pub fn shares(self) -> bool {
        !matches!(self, Kind::Page | Kind::Products)
    }
}

/// Some kinds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kinds(u8);

impl Kinds {
    /// No kind.
    pub const NONE: Kinds = Kinds(0);

    /// Whether this one is among them.
    pub fn contains(self, kind: Kind) -> bool {
        self.0 & (1 << kind as u8) != 0
    }

    /// These and one more.
    pub fn with(self, kind: Kind) -> Kinds {
        Kinds(self.0 | 1 << kind as u8)
    }

    /// These without one.
    pub fn without(self, kind: Kind) -> Kinds {
        Kinds(self.0 & !(1 << kind as u8))
    }

    /// These and those.
    pub fn or(self, others: Kinds) -> Kinds {
        Kinds(self.0 | others.0)
    }

    /// Those of these that are among those too.
    pub fn and(self, others: Kinds) -> Kinds {
        Kinds(self.0 & others.0)
    }

    /// All others.
    pub fn others(self) -> Kinds {
        Kinds(!self.0)
    }
}

impl FromIterator<Kind> for Kinds {
    fn from_iter<T: IntoIterator<Item = Kind>>(kinds: T) -> Kinds {
        kinds.into_iter().fold(Kinds::NONE, Kinds::with)
    }
}
