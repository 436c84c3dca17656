//! One actor, as a caller holds it.

use bytes::Bytes;
use lethe_proto::{
    PAYLOAD_BYTES_MAX,
    v1::{self, actor, call_request::Args, call_response::Result as WireResult},
};
use serde_json::Value;

use crate::{ActorInfo, Client, Code, Error, Outcome, calls::Caller};

/// Which actor of a namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Id(pub(crate) actor::Id);

impl Id {
    /// The actor with this name; the same name always means the same actor.
    pub fn name(name: impl Into<String>) -> Self {
        Self(actor::Id::Name(name.into()))
    }

    /// The actor with this id, 64 hex digits.
    pub fn hex(hex: impl Into<String>) -> Self {
        Self(actor::Id::Hex(hex.into()))
    }

    /// A new actor with a random id at every call; [`Reply::id`] says which it became.
    pub fn unique() -> Self {
        Self(actor::Id::Unique(v1::Unique {}))
    }
}

/// An actor of a namespace. Holding one sends nothing and keeps nothing alive.
#[derive(Clone, Debug)]
pub struct Actor {
    pub(crate) client: Client,
    pub(crate) address: v1::Actor,
}

/// What a method call gave back.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply<T> {
    /// Id of the actor that answered, 64 hex digits.
    pub id: String,
    /// The method's result.
    pub value: T,
}

impl Actor {
    pub(crate) fn new(client: Client, namespace: &str, id: Id) -> Self {
        let address = v1::Actor { namespace: namespace.to_owned(), id: Some(id.0), known_name: None };
        Self { client, address }
    }

    /// Calls a method with a JSON array of arguments. A method that returns `undefined` gives [`Value::Null`].
    pub async fn call_json(&self, method: &str, args: &Value) -> Result<Value, Error> {
        Ok(self.json(method, args, true).await?.value)
    }

    /// Like [`Actor::call_json`], and says which actor answered.
    pub async fn call(&self, method: &str, args: &Value) -> Result<Reply<Value>, Error> {
        self.json(method, args, false).await
    }

    async fn json(&self, method: &str, args: &Value, without_id: bool) -> Result<Reply<Value>, Error> {
        if !args.is_array() {
            let message = format!("arguments are a JSON array, got {args}");
            return Err(Error::new(Code::InvalidRequest, Outcome::NotDone, message));
        }
        let (id, result) = self.send(method, Args::Json(args.to_string()), without_id).await?;
        let Some(WireResult::Json(text)) = result else { return Err(garbled("the result is not JSON")) };
        let value =
            serde_json::from_str(&text).map_err(|error| garbled(&format!("the result is not JSON: {error}")))?;
        Ok(Reply { id, value })
    }

    /// Calls a method with an array of arguments in the encoding of V8's value serializer; the result comes in it too.
    pub async fn call_v8(&self, method: &str, args: Bytes) -> Result<Reply<Bytes>, Error> {
        let (id, result) = self.send(method, Args::V8(args), false).await?;
        match result {
            Some(WireResult::V8(value)) => Ok(Reply { id, value }),
            _ => Err(garbled("the result is not in V8's encoding")),
        }
    }

    /// Destroys the actor for good and returns its id. Destroying one that is destroyed already is no error.
    pub async fn destroy(&self) -> Result<String, Error> {
        self.end(false).await
    }

    /// The same, as an operator and not as a program: the tombstone remembers who asked.
    pub async fn destroy_as_operator(&self) -> Result<String, Error> {
        self.end(true).await
    }

    async fn end(&self, by_operator: bool) -> Result<String, Error> {
        let actor = Some(self.address.clone());
        let request = self.client.request(v1::DestroyRequest { actor, by_operator });
        let reply = self.client.bounded(self.client.stub().destroy(request)).await?;
        Ok(reply.id)
    }

    /// What is known of the actor, or of the one that was destroyed under its id.
    pub async fn show(&self) -> Result<ActorInfo, Error> {
        let request = self.client.request(v1::ShowRequest { actor: Some(self.address.clone()) });
        let reply = self.client.bounded(self.client.stub().show(request)).await?;
        reply.actor.ok_or_else(|| garbled("the answer names no actor"))
    }

    async fn send(&self, method: &str, args: Args, without_id: bool) -> Result<(String, Option<WireResult>), Error> {
        let bytes = match &args {
            Args::V8(bytes) => bytes.len(),
            Args::Json(text) => text.len(),
        };
        if bytes > PAYLOAD_BYTES_MAX {
            let message = format!("the arguments have {bytes} bytes; at most {PAYLOAD_BYTES_MAX} can be sent");
            return Err(Error::new(Code::ExceededLimit, Outcome::NotDone, message));
        }
        let (actor, method) = (Some(self.address.clone()), method.to_owned());
        let request = v1::CallRequest { actor, method, args: Some(args), without_id };
        let reply = if Caller::takes(&request) {
            self.client.call(request).await?
        } else {
            let request = self.client.request(request);
            self.client.bounded(self.client.stub().call(request)).await?
        };
        self.client.route.learn(&reply.leader);
        Ok((reply.id, reply.result))
    }
}

/// The server answered, but not in the protocol's terms.
pub(crate) fn garbled(message: &str) -> Error {
    Error::new(Code::Internal, Outcome::Unknown, message)
}
