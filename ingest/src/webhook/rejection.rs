//! What is answered when a request is not taken.
//!
//! **Invariant:** nothing that a body holds leads here, and nothing here leads elsewhere: no
//! status below 400, and none that an API server takes for the end of a batch that would do
//! better later.

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::Refusal;
use super::access::CLUSTER_NAME;

/// The shortest and the longest wait that is asked for, in seconds. Short, because batches
/// queue up at the API server meanwhile; different, so that they do not all come back at once.
const RETRY_AFTER_SECONDS: std::ops::RangeInclusive<u32> = 1..=4;

/// Why a request is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Rejection {
    #[error("there is nothing here; audit events are posted to /audit or /audit/<cluster>")]
    Path,
    #[error("the path names no cluster: {CLUSTER_NAME}")]
    ClusterName,
    #[error("audit events are posted here by the audit webhook backend of a kube-apiserver")]
    Method,
    #[error("a credential is needed, and a right one")]
    Credential,
    #[error("this credential stands for another cluster")]
    OtherCluster,
    #[error("bodies may be encoded as gzip or zstd, or not at all")]
    Encoding,
    #[error("this is not for browsers")]
    Browser,
    #[error("{0}")]
    Refused(Refusal),
    /// Judging broke down.
    #[error("something went wrong")]
    Failed,
}

impl Rejection {
    fn status(self) -> StatusCode {
        match self {
            Self::Path | Self::ClusterName => StatusCode::NOT_FOUND,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::Credential => StatusCode::UNAUTHORIZED,
            Self::OtherCluster | Self::Browser => StatusCode::FORBIDDEN,
            Self::Encoding => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Refused(_) | Self::Failed => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

impl Rejection {
    /// Why the same request is welcome later, by a short stable name; nothing if it is not.
    pub(super) fn passing(self) -> Option<&'static str> {
        match self {
            Self::Refused(refusal) => Some(refusal.name()),
            Self::Failed => Some("failed"),
            Self::Path
            | Self::ClusterName
            | Self::Method
            | Self::Credential
            | Self::OtherCluster
            | Self::Encoding
            | Self::Browser => None,
        }
    }
}

impl IntoResponse for Rejection {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(format!("{self}\n")));
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        match self {
            Self::Method => {
                headers.insert(header::ALLOW, HeaderValue::from_static("POST"));
            }
            Self::Credential => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            Self::Refused(_) | Self::Failed => {
                let seconds = fastrand::u32(RETRY_AFTER_SECONDS);
                headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
            }
            Self::Path | Self::ClusterName | Self::OtherCluster | Self::Encoding | Self::Browser => {}
        }
        response
    }
}
