//! Natives behind `ctx.storage`. They check limits in bytes, call [`Storage`], and keep the input gate shut while a read
//! is away. A read that storage can answer at once gives its result without leaving the turn.

use std::sync::Arc;

use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt};

use crate::{
    host::{Host, ListOptions, Storage, StorageError},
    js::{self, Class},
    pending::{self, Input},
    quotas::{READ_BYTES_MAX, Read},
    state,
};

/// Longest name of a record, bytes of UTF-8.
const NAME_BYTES_MAX: usize = 2048;
/// Largest value of a record, bytes when serialized.
const VALUE_BYTES_MAX: usize = 128 * 1024;
/// Bytes that one turn may write before a `put` that is awaited waits for the commit.
const TURN_BYTES: usize = 1 << 20;
/// Most records that one call may name.
const NAMES_MAX: usize = 128;

/// What went wrong, already as a JavaScript error.
type Thrown<'s> = v8::Local<'s, v8::Value>;

/// Reads the arguments of a native, throwing what is wrong with them.
macro_rules! unwrap_or_throw {
    ($scope:expr, $result:expr) => {
        match $result {
            Ok(value) => value,
            Err(error) => {
                $scope.throw_exception(error);
                return;
            }
        }
    };
}

/// `storageGet(names, concurrent) -> [[name, bytes]]`, in the order of names, without those that are not there.
pub(crate) fn get<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    args: &v8::FunctionCallbackArguments<'s>,
    result: &mut v8::ReturnValue<v8::Value>,
) {
    let mut names = unwrap_or_throw!(scope, names(scope, args.get(0)));
    names.sort_unstable();
    names.dedup();
    let host = unwrap_or_throw!(scope, host(scope));
    let found = unwrap_or_throw!(scope, storage(scope, &host)).get(names.clone());
    let place = state::get(scope).quotas.begin_read(names.len());
    let size = |values: &Vec<Option<Bytes>>| values.iter().flatten().map(Bytes::len).sum();
    answer(scope, result, input(args.get(1)), place, found, size, move |scope, found| {
        let found = names.into_iter().zip(found);
        records(scope, found.filter_map(|(name, value)| value.map(|value| (name, value))))
    });
}

/// `storageList([start, startAfter, end, prefix], reverse, limit, concurrent) -> [[name, bytes]]`
pub(crate) fn list<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    args: &v8::FunctionCallbackArguments<'s>,
    result: &mut v8::ReturnValue<v8::Value>,
) {
    let range = args.get(0).cast::<v8::Array>();
    let bound = |i| {
        let value = range.get_index(scope, i)?;
        value.is_string().then(|| value.to_rust_string_lossy(scope))
    };
    let options = ListOptions {
        start: bound(0),
        start_after: bound(1),
        end: bound(2),
        prefix: bound(3),
        reverse: args.get(1).is_true(),
        limit: args.get(2).uint32_value(scope).filter(|limit| *limit > 0).map(|limit| limit as usize),
    };
    let host = unwrap_or_throw!(scope, host(scope));
    let place = state::get(scope).quotas.begin_read(options.limit.unwrap_or(usize::MAX));
    let size = |records: &Vec<(String, Bytes)>| records.iter().map(|(name, value)| name.len() + value.len()).sum();
    let found = unwrap_or_throw!(scope, storage(scope, &host)).list(options);
    answer(scope, result, input(args.get(3)), place, found, size, |scope, found| records(scope, found.into_iter()));
}

/// `storagePut(names, values, unconfirmed, transaction)`: writes all or throws. Returns a promise to wait for when the turn
/// has written much, so that a long row of awaited writes is committed in parts; not in a transaction, which has none.
pub(crate) fn put<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    args: &v8::FunctionCallbackArguments<'s>,
    result: &mut v8::ReturnValue<v8::Value>,
) {
    let names = unwrap_or_throw!(scope, names(scope, args.get(0)));
    let values = unwrap_or_throw!(scope, values(scope, &names, args.get(1)));
    let host = unwrap_or_throw!(scope, host(scope));
    let storage = unwrap_or_throw!(scope, storage(scope, &host));
    let bytes: usize = names.iter().zip(&values).map(|(name, value)| name.len() + value.len()).sum();
    let put = storage.put(names.into_iter().zip(values).collect(), args.get(2).is_true());
    unwrap_or_throw!(scope, put.map_err(|refused| thrown(scope, &refused)));
    let state = state::get(scope);
    state.turn_written += bytes;
    if state.turn_written <= TURN_BYTES || args.get(3).is_true() {
        return;
    }
    // All writes of a turn are one batch, so one wait is enough for them.
    if let Some(commit) = state.turn_commit.clone() {
        return result.set(v8::Local::new(scope, commit));
    }
    let place = state.quotas.begin_read(0);
    let commit = wait(scope, Input::Shut, place, storage.sync(), |()| 0, |scope, ()| Ok(v8::undefined(scope).into()));
    if let Some(commit) = commit {
        state::get(scope).turn_commit = Some(v8::Global::new(scope, commit));
        result.set(commit);
    }
}

/// `storageDelete(names, unconfirmed) -> how many were there`
pub(crate) fn delete<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    args: &v8::FunctionCallbackArguments<'s>,
    result: &mut v8::ReturnValue<v8::Value>,
) {
    let mut names = unwrap_or_throw!(scope, names(scope, args.get(0)));
    names.sort_unstable();
    names.dedup();
    let host = unwrap_or_throw!(scope, host(scope));
    let deleted = unwrap_or_throw!(scope, storage(scope, &host)).delete(names, args.get(1).is_true());
    let count = unwrap_or_throw!(scope, deleted.map_err(|refused| thrown(scope, &refused)));
    result.set(v8::Number::new(scope, count as f64).into());
}

/// `storageDeleteAll(unconfirmed)`
pub(crate) fn delete_all<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    args: &v8::FunctionCallbackArguments<'s>,
    _: &mut v8::ReturnValue<v8::Value>,
) {
    write(scope, |storage| storage.delete_all(args.get(0).is_true()));
}

/// `storageSync() -> Promise`. Other events may enter meanwhile.
pub(crate) fn sync<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    _: &v8::FunctionCallbackArguments<'s>,
    result: &mut v8::ReturnValue<v8::Value>,
) {
    let host = unwrap_or_throw!(scope, host(scope));
    let synced = unwrap_or_throw!(scope, storage(scope, &host)).sync();
    let place = state::get(scope).quotas.begin_read(0);
    answer(scope, result, Input::Open, place, synced, |()| 0, |scope, ()| Ok(v8::undefined(scope).into()));
}

/// `transactionBegin()`
pub(crate) fn begin<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    _: &v8::FunctionCallbackArguments<'s>,
    _: &mut v8::ReturnValue<v8::Value>,
) {
    write(scope, |storage| storage.begin());
}

/// `transactionCommit()`
pub(crate) fn commit<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    _: &v8::FunctionCallbackArguments<'s>,
    _: &mut v8::ReturnValue<v8::Value>,
) {
    write(scope, |storage| storage.commit());
}

/// `transactionRollback()`
pub(crate) fn rollback<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    _: &v8::FunctionCallbackArguments<'s>,
    _: &mut v8::ReturnValue<v8::Value>,
) {
    write(scope, |storage| storage.rollback());
}

fn write(scope: &mut v8::PinScope, write: impl FnOnce(&dyn Storage) -> Result<(), StorageError>) {
    let host = unwrap_or_throw!(scope, host(scope));
    let written = write(unwrap_or_throw!(scope, storage(scope, &host)));
    unwrap_or_throw!(scope, written.map_err(|refused| thrown(scope, &refused)));
}

fn host<'s>(scope: &mut v8::PinScope<'s, '_>) -> Result<Arc<dyn Host>, Thrown<'s>> {
    let host = state::get(scope).host.clone();
    host.ok_or_else(|| js::error(scope, Class::Error, "storage cannot be used before the actor exists"))
}

fn storage<'s, 'h>(scope: &mut v8::PinScope<'s, '_>, host: &'h Arc<dyn Host>) -> Result<&'h dyn Storage, Thrown<'s>> {
    host.storage().ok_or_else(|| js::error(scope, Class::Error, "only an actor has storage"))
}

/// How the completion of a read comes in: with the turn's lock held for it, unless the worker allows concurrency.
fn input(concurrent: v8::Local<v8::Value>) -> Input {
    if concurrent.is_true() { Input::Open } else { Input::Shut }
}

/// Returns the result of a read: now if there is one, else a promise for it.
fn answer<T, F>(
    scope: &mut v8::PinScope,
    result: &mut v8::ReturnValue<v8::Value>,
    input: Input,
    place: Read,
    mut read: BoxFuture<'static, Result<T, StorageError>>,
    size: fn(&T) -> usize,
    make: F,
) where
    T: Send + 'static,
    F: for<'s, 'i> FnOnce(&mut v8::PinScope<'s, 'i>, T) -> Result<v8::Local<'s, v8::Value>, Thrown<'s>>
        + Send
        + 'static,
{
    if place.is_ready()
        && let Some(read) = (&mut read).now_or_never()
    {
        let made = match read {
            Ok(value) => make(scope, value),
            Err(refused) => Err(thrown(scope, &refused)),
        };
        result.set(unwrap_or_throw!(scope, made));
        return;
    }
    if let Some(promise) = wait(scope, input, place, read, size, make) {
        result.set(promise);
    }
}

/// A promise for the result of a read; `None` when it throws.
fn wait<'s, T, F>(
    scope: &mut v8::PinScope<'s, '_>,
    input: Input,
    place: Read,
    read: BoxFuture<'static, Result<T, StorageError>>,
    size: fn(&T) -> usize,
    make: F,
) -> Option<v8::Local<'s, v8::Value>>
where
    T: Send + 'static,
    F: for<'t, 'i> FnOnce(&mut v8::PinScope<'t, 'i>, T) -> Result<v8::Local<'t, v8::Value>, Thrown<'t>>
        + Send
        + 'static,
{
    let room = state::get(scope).quotas.read.clone();
    let operation = async move {
        let share = place.ready().await;
        let read = read.await;
        drop(share);
        let share = room.take(read.as_ref().map_or(0, size));
        let read = read.and_then(|value| share.map(|share| (value, share)).ok_or_else(too_much));
        pending::settle(move |scope| match read {
            Ok((value, _share)) => make(scope, value),
            Err(refused) => Err(thrown(scope, &refused)),
        })
    };
    pending::start_with(scope, input, operation).map(Into::into)
}

fn too_much() -> StorageError {
    let message = format!("more than {READ_BYTES_MAX} bytes of records were read at once; read fewer, or use a limit");
    StorageError { name: "RangeError", message }
}

fn thrown<'s>(scope: &v8::PinScope<'s, '_>, refused: &StorageError) -> Thrown<'s> {
    let class = match refused.name {
        "TypeError" => Class::TypeError,
        "RangeError" => Class::RangeError,
        _ => Class::Error,
    };
    js::error(scope, class, &refused.message)
}

/// Names out of an array of strings that `storage.js` made.
fn names<'s>(scope: &mut v8::PinScope<'s, '_>, list: v8::Local<v8::Value>) -> Result<Vec<String>, Thrown<'s>> {
    let list = list.cast::<v8::Array>();
    let count = list.length() as usize;
    if count > NAMES_MAX {
        let text = format!("{count} names in one call, the limit is {NAMES_MAX}");
        return Err(js::error(scope, Class::RangeError, &text));
    }
    let mut names = Vec::with_capacity(count);
    for i in 0..list.length() {
        let name = list.get_index(scope, i).expect("storage.js makes plain arrays").cast::<v8::String>();
        let size = name.utf8_length(scope);
        if size > NAME_BYTES_MAX {
            let start: String = name.to_rust_string_lossy(scope).chars().take(32).collect();
            let text = format!("the name {start:?}... has {size} bytes of UTF-8, the limit is {NAME_BYTES_MAX}");
            return Err(js::error(scope, Class::RangeError, &text));
        }
        names.push(name.to_rust_string_lossy(scope));
    }
    Ok(names)
}

fn values<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    names: &[String],
    list: v8::Local<v8::Value>,
) -> Result<Vec<Bytes>, Thrown<'s>> {
    let list = list.cast::<v8::Array>();
    let mut values = Vec::with_capacity(names.len());
    for (i, name) in (0..).zip(names) {
        let value = list.get_index(scope, i).expect("storage.js makes plain arrays").cast::<v8::Uint8Array>();
        let size = value.byte_length();
        if size > VALUE_BYTES_MAX {
            let text =
                format!("the value of {name:?} has {size} bytes when serialized, the limit is {VALUE_BYTES_MAX}");
            return Err(js::error(scope, Class::RangeError, &text));
        }
        values.push(Bytes::from(js::copy_bytes(value.into()).unwrap_or_default()));
    }
    Ok(values)
}

/// `[[name, bytes]]`
fn records<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    found: impl Iterator<Item = (String, Bytes)>,
) -> Result<v8::Local<'s, v8::Value>, Thrown<'s>> {
    let mut list = Vec::new();
    for (name, value) in found {
        let name = js::string(scope, &name);
        let Some(value) = js::bytes(scope, &value) else {
            return Err(js::error(scope, Class::RangeError, "the records do not fit into the memory limit"));
        };
        list.push(v8::Array::new_with_elements(scope, &[name.into(), value.into()]).into());
    }
    Ok(v8::Array::new_with_elements(scope, &list).into())
}
