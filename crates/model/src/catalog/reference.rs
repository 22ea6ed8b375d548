//! Which property of an object names records of another one.
//!
//! Planhat spells one idea in many ways: a company is `companyId`, `cId` or `companyIds`, an owner is an id here and an object
//! there. What a property is for says [`Role`]; so whoever asks for the company of a record need not know the spelling.

/// A property that names one or several records by their `_id`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reference {
    pub property: &'static str,
    /// The name of the object whose records it names.
    pub to: &'static str,
    pub shape: ReferenceShape,
    /// What the named record is to the one that names it, if that is one of the ideas that have many spellings.
    pub role: Option<Role>,
}

/// What Planhat documents of the value. A reader had better take any of these: what is an id in a listing is an object in
/// another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReferenceShape {
    /// `"5e29…"`
    Id,
    /// An id, or an object with `_id` or `id`.
    IdOrObject,
    /// `["5e29…", …]`
    Ids,
    /// An array of objects with `id` or `_id`, or of ids.
    Objects,
}

/// What a record is to the one that names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The company it belongs to.
    Company,
    /// The member of the team who is responsible for it.
    Owner,
    /// The person at the customer whom it is about.
    EndUser,
}

impl ReferenceShape {
    /// Whether it may name several records.
    pub fn is_list(self) -> bool {
        matches!(self, ReferenceShape::Ids | ReferenceShape::Objects)
    }
}

impl Role {
    /// The object whose records have this role.
    pub fn object(self) -> &'static str {
        match self {
            Role::Company => "companies",
            Role::Owner => "users",
            Role::EndUser => "endusers",
        }
    }
}

impl Reference {
    /// The name and the PostgreSQL type of the column that has such references of every object in one spelling.
    pub fn column_for_joins(&self) -> Option<(&'static str, &'static str)> {
        Some(match (self.role?, self.shape.is_list()) {
            (Role::Company, false) => ("company_id", "text"),
            (Role::Company, true) => ("company_ids", "text[]"),
            (Role::Owner, false) => ("owner_id", "text"),
            (Role::Owner, true) => ("owner_ids", "text[]"),
            (Role::EndUser, false) => ("end_user_id", "text"),
            (Role::EndUser, true) => ("end_user_ids", "text[]"),
        })
    }

    pub(super) const fn id(property: &'static str, to: &'static str) -> Reference {
        Reference { property, to, shape: ReferenceShape::Id, role: None }
    }

    pub(super) const fn id_or_object(property: &'static str, to: &'static str) -> Reference {
        Reference { property, to, shape: ReferenceShape::IdOrObject, role: None }
    }

    pub(super) const fn ids(property: &'static str, to: &'static str) -> Reference {
        Reference { property, to, shape: ReferenceShape::Ids, role: None }
    }

    pub(super) const fn objects(property: &'static str, to: &'static str) -> Reference {
        Reference { property, to, shape: ReferenceShape::Objects, role: None }
    }

    pub(super) const fn company(property: &'static str) -> Reference {
        Reference { role: Some(Role::Company), ..Reference::id(property, "companies") }
    }

    pub(super) const fn owner(property: &'static str) -> Reference {
        Reference { role: Some(Role::Owner), ..Reference::id(property, "users") }
    }

    pub(super) const fn end_user(property: &'static str) -> Reference {
        Reference { role: Some(Role::EndUser), ..Reference::id(property, "endusers") }
    }

    pub(super) const fn shaped(self, shape: ReferenceShape) -> Reference {
        Reference { shape, ..self }
    }
}
