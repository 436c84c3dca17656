//! What cares for the groups of a node while it runs: its upkeep, and the writing of state. A defect in it ends the node,
//! because nobody else frees the log or writes state.

use std::panic::{AssertUnwindSafe, resume_unwind};

use futures::FutureExt;
use tokio::task::spawn_blocking;

use super::config::OnFatal;

/// Cares until the node stops. If that panics the node ends.
pub(super) async fn to_the_end(care: impl Future<Output = ()>, on_fatal: OnFatal) {
    if AssertUnwindSafe(care).catch_unwind().await.is_err() {
        on_fatal("the upkeep of the groups panicked");
    }
}

/// Runs a part of the care on a blocking thread. If that panics, so does this.
pub(super) async fn blocking<T, E>(work: impl FnOnce() -> Result<T, E> + Send + 'static) -> Result<T, String>
where
    T: Send + 'static,
    E: ToString + Send + 'static,
{
    match spawn_blocking(work).await {
        Ok(done) => done.map_err(|error| error.to_string()),
        Err(ended) if ended.is_panic() => resume_unwind(ended.into_panic()),
        Err(ended) => Err(ended.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use parking_lot::Mutex;

    use super::*;

    #[tokio::test]
    async fn a_node_whose_upkeep_panicked_does_not_go_on() {
        let reasons = Arc::new(Mutex::new(Vec::new()));
        let told = reasons.clone();
        let on_fatal: OnFatal = Arc::new(move |reason| told.lock().push(reason.to_owned()));
        let fails = async {
            let error = blocking(|| Err::<(), _>("an error")).await;
            assert_eq!(error.unwrap_err(), "an error");
        };
        to_the_end(fails, on_fatal.clone()).await;
        assert!(reasons.lock().is_empty());
        to_the_end(async { panic!("a defect") }, on_fatal.clone()).await;
        let on_a_thread = async { drop(blocking(|| -> Result<(), String> { panic!("a defect") }).await) };
        to_the_end(on_a_thread, on_fatal).await;
        assert_eq!(*reasons.lock(), ["the upkeep of the groups panicked"; 2]);
    }
}
