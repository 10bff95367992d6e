//! Pages: how far a walk has come, and how much of it this answer shows.

use super::{Call, params::Params};
use crate::{
    google::refusal::Refusal,
    world::{Ids, digest},
};

/// What scripted faults do to the pages of a call.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Paging {
    /// Show so many items at most.
    pub(crate) at_most: Option<usize>,
    /// Show the first page, whatever token is given.
    pub(crate) repeat: bool,
}

/// A list that is walked in pages; a token of one walk is refused by any other.
pub(crate) struct Walk {
    name: u64,
    ids: Ids,
    from: u64,
    limit: usize,
}

/// One page of a walk.
pub(crate) struct Page<T> {
    pub(crate) items: Vec<T>,
    pub(crate) next: Option<String>,
    pub(crate) previous: Option<String>,
}

impl Walk {
    /// Takes up a walk where the call's page token says.
    pub(crate) fn of(call: &Call<'_>, name: &[&str], limit: usize) -> Result<Self, Refusal> {
        let (ids, name) = (call.view.world.ids, digest(name.join("\n").as_bytes()));
        let from = position(ids, name, call.params)?;
        Ok(Self {
            name,
            ids,
            from: if call.paging.repeat { 0 } else { from },
            limit: call.paging.at_most.map_or(limit, |most| most.min(limit)),
        })
    }

    /// Shows places of a list of `len` until the page is full; a place may show nothing.
    ///
    /// Tokens name a place and not an item, so what is added in front shifts the pages that follow
    /// and a client sees some items twice, as on the original.
    pub(crate) fn page<T>(&self, len: u64, mut show: impl FnMut(u64) -> Option<T>) -> Page<T> {
        let mut items = Vec::with_capacity(self.limit);
        let mut place = self.from;
        while place < len && items.len() < self.limit {
            items.extend(show(place));
            place += 1;
        }
        let token = |place| self.ids.page_token(self.name, place);
        Page {
            items,
            next: (place < len).then(|| token(place)),
            previous: (self.from > 0).then(|| token(self.from.saturating_sub(self.limit as u64))),
        }
    }
}

fn position(ids: Ids, walk: u64, params: &Params) -> Result<u64, Refusal> {
    match params.one("pageToken") {
        None => Ok(0),
        Some(token) => ids.read_page_token(walk, token).ok_or_else(Refusal::invalid_page_token),
    }
}
