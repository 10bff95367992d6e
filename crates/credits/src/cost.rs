//! What work costs us, and what that is in credits.

use chrono::{DateTime, Utc};
use greenroom_model::{Dollars, MicroCredits};
use uuid::Uuid;

use crate::ActionType;

/// A row of `credit_action_costs`; it never changes, so it can be named later by its id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Price {
    /// The row's id.
    pub id: Uuid,
    /// What it is the price of.
    pub action: ActionType,
    /// What one unit costs us, apart from computing.
    pub base: Dollars,
    /// What computing one unit costs us.
    pub compute: Dollars,
    /// Since when it has been the price: its version.
    pub since: DateTime<Utc>,
}

impl Price {
    /// Returns what a quantity of this action costs, before any call that is priced by use.
    pub const fn of(&self, quantity: u32) -> Cost {
        Cost {
            base: Dollars(self.base.0.saturating_mul(quantity as i64)),
            compute: Dollars(self.compute.0.saturating_mul(quantity as i64)),
            api: Dollars::ZERO,
        }
    }
}

/// What a unit of work cost us, in its parts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// The action's own price.
    pub base: Dollars,
    /// What outside services asked for it.
    pub api: Dollars,
    /// What computing it cost.
    pub compute: Dollars,
}

impl Cost {
    /// Returns the whole cost in credits: rounded up once, on the total and never per part.
    pub const fn credits(&self) -> MicroCredits {
        let total = self.base.0.saturating_add(self.api.0).saturating_add(self.compute.0);
        Dollars(total).credits_rounded_up()
    }
}
