//! A server that alerts are posted to, in every mood that servers have.

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::{audit_ids_of, free_address};

/// How it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Mood {
    /// It takes everything.
    Well,
    /// It answers with this status, and takes nothing.
    Answers(u16),
    /// The same, and says in how many seconds to come back.
    AnswersLater(u16, u32),
    /// It never answers.
    Hangs,
}

/// The server.
pub(crate) struct Receiver {
    address: SocketAddr,
    state: Arc<Mutex<Remembered>>,
    served: Mutex<Option<JoinHandle<()>>>,
}

struct Remembered {
    mood: Mood,
    /// How often somebody met each mood.
    met: HashMap<Mood, u64>,
    /// The audit id that it never takes.
    unwanted: Option<String>,
    taken: BTreeSet<String>,
}

impl Receiver {
    /// One that is not served yet.
    pub(crate) fn new() -> Self {
        let state =
            Remembered { mood: Mood::Well, met: HashMap::new(), unwanted: None, taken: BTreeSet::new() };
        Self { address: free_address(), state: Arc::new(Mutex::new(state)), served: Mutex::default() }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/alerts", self.address)
    }

    /// Serves from now on.
    pub(crate) async fn serve(&self) {
        let listener = TcpListener::bind(self.address).await.unwrap();
        let router = Router::new().route("/alerts", post(take)).with_state(Arc::clone(&self.state));
        let served = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        *self.served.lock().unwrap() = Some(served);
    }

    pub(crate) fn set(&self, mood: Mood) {
        self.state.lock().unwrap().mood = mood;
    }

    /// Refuses this audit id for good.
    pub(crate) fn refuse(&self, id: &str) {
        self.state.lock().unwrap().unwanted = Some(id.to_owned());
    }

    /// How often somebody met a mood.
    pub(crate) fn met(&self, mood: Mood) -> u64 {
        self.state.lock().unwrap().met.get(&mood).copied().unwrap_or_default()
    }

    /// The audit ids of everything it took.
    pub(crate) fn taken(&self) -> BTreeSet<String> {
        self.state.lock().unwrap().taken.clone()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        if let Some(served) = self.served.lock().unwrap().take() {
            served.abort();
        }
    }
}

async fn take(State(state): State<Arc<Mutex<Remembered>>>, body: String) -> Response {
    let mood = {
        let mut state = state.lock().unwrap();
        let mood = state.mood;
        *state.met.entry(mood).or_default() += 1;
        mood
    };
    let status = |code| StatusCode::from_u16(code).unwrap();
    match mood {
        Mood::Well => {}
        Mood::Answers(code) => return (status(code), [("location", "/elsewhere")]).into_response(),
        Mood::AnswersLater(code, seconds) => {
            return (status(code), [("retry-after", seconds.to_string())]).into_response();
        }
        Mood::Hangs => std::future::pending().await,
    }
    let ids = audit_ids_of(&body);
    let mut state = state.lock().unwrap();
    if state.unwanted.as_ref().is_some_and(|unwanted| ids.contains(unwanted)) {
        return (StatusCode::BAD_REQUEST, "no such field").into_response();
    }
    state.taken.extend(ids);
    StatusCode::OK.into_response()
}
