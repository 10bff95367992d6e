//! Tests over real HTTP, as a client would meet the sandbox.

mod comments;
mod faults;
mod lists;
mod oauth;
mod protocol;
mod python;

use std::collections::BTreeSet;

use reqwest::{Client, RequestBuilder, Response, StatusCode};
use serde_json::Value;

use crate::{Running, Sandbox, Settings};

/// A started sandbox and a client that has an access token.
struct Setup {
    running: Running,
    client: Client,
    token: String,
}

impl Setup {
    async fn new(settings: Settings) -> Self {
        let running = Sandbox::start(settings).await.expect("a free port");
        let client = client();
        let token = access_token(&running, &running.google().refresh_token, &client).await;
        Self { running, client, token }
    }

    async fn small() -> Self {
        Self::new(Settings::default()).await
    }

    fn url(&self, path: &str) -> String {
        format!("{}/youtube/v3/{path}", self.running.base_url)
    }

    fn request(&self, path: &str) -> RequestBuilder {
        self.client.get(self.url(path)).bearer_auth(&self.token)
    }

    async fn send(&self, path: &str) -> Response {
        self.request(path).send().await.expect("an answer")
    }

    /// Reads an answer that must be in order.
    async fn get(&self, path: &str) -> Value {
        let response = self.send(path).await;
        assert_eq!(
            response.status(),
            StatusCode::OK,
            "{path}: {}",
            response.text().await.unwrap_or_default()
        );
        response.json().await.expect("JSON")
    }

    /// Reads an answer that must be an error, as (status, reason, the error's body).
    async fn refused(&self, path: &str) -> (u16, String, Value) {
        refusal(self.send(path).await).await
    }

    /// Walks a list to its end and returns its items.
    async fn walk(&self, path: &str) -> Vec<Value> {
        let (mut items, mut token) = (Vec::new(), String::new());
        loop {
            let page = self.get(&format!("{path}&pageToken={token}")).await;
            items.extend(list(&page["items"]).to_vec());
            match page["nextPageToken"].as_str() {
                Some(next) => next.clone_into(&mut token),
                None => return items,
            }
        }
    }

    async fn uploads(&self) -> Vec<String> {
        let playlist = &self.running.totals()[0].uploads;
        let items = self
            .walk(&format!("playlistItems?part=contentDetails&maxResults=50&playlistId={playlist}"))
            .await;
        items.iter().map(|item| text(&item["contentDetails"]["videoId"])).collect()
    }
}

#[expect(clippy::disallowed_methods, reason = "the house's client would hide what the tests look at")]
fn client() -> Client {
    Client::new()
}

async fn access_token(running: &Running, refresh_token: &str, client: &Client) -> String {
    let google = running.google();
    let form = [
        ("grant_type", "refresh_token"),
        ("refresh_token", refresh_token),
        ("client_id", &google.client_id),
        ("client_secret", &google.client_secret),
    ];
    let answer =
        client.post(format!("{}/token", running.base_url)).form(&form).send().await.expect("an answer");
    let issued: Value = answer.json().await.expect("JSON");
    text(&issued["access_token"])
}

async fn refusal(response: Response) -> (u16, String, Value) {
    let status = response.status().as_u16();
    let body: Value = response.json().await.expect("JSON");
    assert_eq!(body["error"]["code"], status);
    (status, text(&body["error"]["errors"][0]["reason"]), body["error"].clone())
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("a text, not {value}")).to_owned()
}

fn ids(items: &[Value]) -> BTreeSet<String> {
    items.iter().map(|item| text(&item["id"])).collect()
}
