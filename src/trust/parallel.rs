//! Work on many independent things with every core, in order. Pure: what is computed does not depend on the number of
//! cores.

use std::sync::{Mutex, PoisonError, mpsc};

/// Fewer than this are not worth a thread.
const FEW: usize = 64;

/// `f` of each of `items`, in their order.
pub fn map<T: Sync, R: Send>(items: &[T], f: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    if items.len() < FEW || cores == 1 {
        return items.iter().map(f).collect();
    }
    let size = items.len().div_ceil(cores);
    let work = |chunk: &[T]| chunk.iter().map(&f).collect::<Vec<R>>();
    let work = &work;
    std::thread::scope(|scope| {
        let threads: Vec<_> = items.chunks(size).map(|chunk| scope.spawn(move || work(chunk))).collect();
        let joined = threads.into_iter().map(|thread| match thread.join() {
            Ok(results) => results,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        joined.flatten().collect()
    })
}

/// `f` of each of `items`, in their order, where each takes milliseconds: whoever is free takes the next. Tells `done` how
/// many are there after each.
pub fn each<T: Send, R: Send>(items: Vec<T>, f: impl Fn(T) -> R + Sync, done: &mut dyn FnMut(usize)) -> Vec<R> {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get).min(items.len());
    let mut results: Vec<(usize, R)> = Vec::with_capacity(items.len());
    let waiting = Mutex::new(items.into_iter().enumerate());
    let (send, finished) = mpsc::channel();
    std::thread::scope(|scope| {
        for _ in 0..cores {
            let (waiting, f, send) = (&waiting, &f, send.clone());
            scope.spawn(move || {
                loop {
                    let next = waiting.lock().unwrap_or_else(PoisonError::into_inner).next();
                    let Some((index, item)) = next else { return };
                    // Nobody takes results any more only if this thread's parent is gone too.
                    let _ = send.send((index, f(item)));
                }
            });
        }
        drop(send);
        for result in finished {
            results.push(result);
            done(results.len());
        }
    });
    results.sort_by_key(|(index, _)| *index);
    results.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_stays_however_many_there_are() {
        for count in [0, 1, 63, 64, 1000] {
            let items: Vec<usize> = (0..count).collect();
            let doubled: Vec<usize> = items.iter().map(|item| item * 2).collect();
            assert_eq!(map(&items, |item| item * 2), doubled);
            let mut done = Vec::new();
            assert_eq!(each(items, |item| item * 2, &mut |so_far| done.push(so_far)), doubled);
            assert_eq!(done, (1..=count).collect::<Vec<_>>());
        }
    }
}
