//! Several workspaces behind one address: the token of a request says which of them it is for, as at Planhat.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::serve::SharedServer;

/// The workspaces that are served at one address.
pub(super) struct Tenants {
    first: Arc<SharedServer>,
    /// By the token that each was last found with.
    others: Mutex<HashMap<String, Arc<SharedServer>>>,
}

impl Tenants {
    pub(super) fn new(first: Arc<SharedServer>) -> Tenants {
        Tenants { first, others: Mutex::default() }
    }

    pub(super) fn add(&self, server: Arc<SharedServer>) {
        let token = server.token().to_owned();
        self.others.lock().unwrap_or_else(PoisonError::into_inner).insert(token, server);
    }

    /// The workspace of a token. One that is nobody's is for the first, which refuses it.
    pub(super) fn of(&self, token: Option<&str>) -> Arc<SharedServer> {
        let Some(token) = token.filter(|token| !self.first.takes(token)) else { return Arc::clone(&self.first) };
        let mut others = self.others.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = others.get(token).filter(|server| server.takes(token)) {
            return Arc::clone(found);
        }
        // A token may have been rotated since.
        let Some(before) = others.iter().find(|(_, server)| server.takes(token)).map(|(before, _)| before.clone()) else {
            return Arc::clone(&self.first);
        };
        let found = others.remove(&before).unwrap_or_else(|| Arc::clone(&self.first));
        others.insert(token.to_owned(), Arc::clone(&found));
        found
    }
}
