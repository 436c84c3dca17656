//! Promises that were rejected and that nobody handles: logged once the microtasks are drained.

use crate::{ops::log, state};

/// Rejected promises remembered in one turn.
const REJECTIONS_MAX: usize = 100;
/// How often listeners may cause new rejections before the rest waits for the next turn.
const ROUNDS_MAX: usize = 8;

/// V8 calls this when a promise is rejected without a handler, or gets a handler late.
// SAFETY: V8 calls this with a message of the isolate that is entered.
pub(crate) unsafe extern "C" fn rejected(message: v8::PromiseRejectMessage) {
    // SAFETY: as above.
    v8::callback_scope!(unsafe scope, &message);
    let promise = message.get_promise();
    match message.get_event() {
        v8::PromiseRejectEvent::PromiseRejectWithNoHandler => {
            let Some(value) = message.get_value() else { return };
            if state::get(scope).rejections.len() < REJECTIONS_MAX {
                let rejection = (v8::Global::new(scope, promise), v8::Global::new(scope, value));
                state::get(scope).rejections.push(rejection);
            }
        }
        v8::PromiseRejectEvent::PromiseHandlerAddedAfterReject => {
            state::get(scope).rejections.retain(|(rejected, _)| *rejected != promise);
        }
        v8::PromiseRejectEvent::PromiseRejectAfterResolved | v8::PromiseRejectEvent::PromiseResolveAfterResolved => {}
    }
}

/// Tells the worker's listeners of what is still unhandled, or logs it.
pub(crate) fn report(scope: &mut v8::PinScope) {
    for _ in 0..ROUNDS_MAX {
        if state::get(scope).rejections.is_empty() {
            return;
        }
        for (promise, value) in std::mem::take(&mut state::get(scope).rejections) {
            let (promise, value) = (v8::Local::new(scope, promise), v8::Local::new(scope, value));
            log::uncaught(scope, value, Some(promise));
        }
        // A listener may have left microtasks, and those rejections.
        scope.perform_microtask_checkpoint();
    }
}
