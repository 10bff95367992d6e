//! What work costs us, and what that is in credits.

use chrono::{DateTime, Utc};
use greenroom_model::{Dollars, MicroCredits};
use uuid::Uuid;

use crate::{ActionType, ModelPrice, Tokens};

/// A row of `credit_action_costs`, which never changes, so that it can be named later by its id; and the price of the
/// model that the work calls.
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
    /// What the tokens of the model cost, where one is called; they come on top.
    pub model: Option<Box<ModelPrice>>,
}

impl Price {
    /// Returns the price of work that calls this model.
    #[must_use]
    pub fn with_model(self, model: &ModelPrice) -> Self {
        Self { model: Some(Box::new(model.clone())), ..self }
    }

    /// Returns what a quantity of this action costs together with a call of its model.
    pub fn of_call(&self, quantity: u32, tokens: &Tokens) -> Cost {
        let api = self.model.as_ref().map_or(Dollars::ZERO, |model| model.of(tokens));
        Cost { api, ..self.of(quantity) }
    }

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
    /// Returns the whole cost.
    pub const fn total(&self) -> Dollars {
        Dollars(self.base.0.saturating_add(self.api.0).saturating_add(self.compute.0))
    }

    /// Returns the whole cost in credits: rounded up once, on the total and never per part.
    pub const fn credits(&self) -> MicroCredits {
        self.total().credits_rounded_up()
    }
}
