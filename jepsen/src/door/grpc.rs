//! The public gRPC API, through the client library.

use lethe_client::{Client, Code, Error, Id, Outcome};
use serde_json::Value;

use super::{Answer, DEADLINE};
use crate::cluster::Addresses;

/// Name of the project in `jepsen/actors`: first part of its namespaces.
const SCRIPT: &str = "jepsen";

/// The namespace of a class of `jepsen/actors`.
pub fn namespace(class: &str) -> String {
    format!("{SCRIPT}/{class}")
}

/// A connection to the gRPC address it was last asked to call.
#[derive(Default)]
pub struct GrpcDoor {
    connection: Option<(String, Client)>,
}

impl GrpcDoor {
    /// Not connected yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// See [`super::Door::call`].
    pub async fn call(&mut self, at: &Addresses, class: &str, name: &str, method: &str, args: &Value) -> Answer {
        let client = match self.connected(at).await {
            Ok(client) => client,
            Err(error) => return answer(error),
        };
        let actor = client.actor(&namespace(class), Id::name(name));
        let result = match method {
            "destroy" => actor.destroy().await.map(|_| Value::Null),
            method => actor.call_json(method, args).await,
        };
        result.map_or_else(answer, Answer::Value)
    }

    async fn connected(&mut self, at: &Addresses) -> Result<Client, Error> {
        if let Some((endpoint, client)) = &self.connection
            && *endpoint == at.grpc
        {
            return Ok(client.clone());
        }
        let client = Client::connect(&at.grpc).await?.with_deadline(DEADLINE);
        self.connection = Some((at.grpc.clone(), client.clone()));
        Ok(client)
    }
}

fn answer(error: Error) -> Answer {
    if error.code == Code::ActorDestroyed {
        return match error.outcome {
            Outcome::NotDone => Answer::Destroyed,
            Outcome::Done | Outcome::Unknown => Answer::Ended,
        };
    }
    // What was deployed is there for good: a node that does not know it must say that it cannot tell.
    if error.code == Code::InvalidTarget {
        return Answer::Unexpected(error.to_string());
    }
    match error.outcome {
        Outcome::NotDone => Answer::NotDone(error.to_string()),
        Outcome::Unknown => Answer::Unknown(error.to_string()),
        // The test actor throws nothing when all is well.
        Outcome::Done => Answer::Unexpected(error.to_string()),
    }
}
