//! Work on many independent things with every core, in order. Pure: what is computed does not depend on the number of
//! cores.

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_stays_however_many_there_are() {
        for count in [0, 1, 63, 64, 1000] {
            let items: Vec<usize> = (0..count).collect();
            assert_eq!(map(&items, |item| item * 2), items.iter().map(|item| item * 2).collect::<Vec<_>>());
        }
    }
}
