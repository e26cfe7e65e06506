//! Memory that may not be there: growth that fails instead of ending the process.
//!
//! Rust's own collections end the process where they cannot grow. In a database server that ends all sessions, so whatever
//! grows with what somebody else sends or stores grows by these functions.

#![allow(
    clippy::disallowed_methods,
    reason = "here it is asked whether there is memory"
)]

use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

/// There is not enough memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OutOfMemory {
    /// How many bytes were asked for.
    pub bytes: usize,
}

impl fmt::Display for OutOfMemory {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "out of memory: {} bytes were asked for",
            self.bytes
        )
    }
}

impl core::error::Error for OutOfMemory {}

/// That so many elements of a type could not be had.
pub fn out_of<T>(count: usize) -> OutOfMemory {
    OutOfMemory {
        bytes: count.saturating_mul(size_of::<T>()),
    }
}

/// An empty vector with room for exactly so many elements.
pub fn try_vec<T>(capacity: usize) -> Result<Vec<T>, OutOfMemory> {
    let mut vec = Vec::new();
    match vec.try_reserve_exact(capacity) {
        Ok(()) => Ok(vec),
        Err(_) => Err(out_of::<T>(capacity)),
    }
}

/// Makes room for so many more elements, and perhaps for others to come.
pub fn try_reserve<T>(vec: &mut Vec<T>, more: usize) -> Result<(), OutOfMemory> {
    let length = vec.len();
    vec.try_reserve(more)
        .map_err(|_| out_of::<T>(length.saturating_add(more)))
}

/// Adds an element at the end.
pub fn try_push<T>(vec: &mut Vec<T>, element: T) -> Result<(), OutOfMemory> {
    if vec.len() == vec.capacity() {
        try_reserve(vec, 1)?;
    }
    vec.push(element);
    Ok(())
}

/// Adds an element at the end of a queue.
pub fn try_push_back<T>(queue: &mut VecDeque<T>, element: T) -> Result<(), OutOfMemory> {
    let length = queue.len();
    queue
        .try_reserve(1)
        .map_err(|_| out_of::<T>(length.saturating_add(1)))?;
    queue.push_back(element);
    Ok(())
}

/// Adds copies of elements at the end.
pub fn try_extend<T: Copy>(vec: &mut Vec<T>, elements: &[T]) -> Result<(), OutOfMemory> {
    try_reserve(vec, elements.len())?;
    vec.extend_from_slice(elements);
    Ok(())
}

/// A vector of all elements.
pub fn try_collect<T>(elements: impl IntoIterator<Item = T>) -> Result<Vec<T>, OutOfMemory> {
    let elements = elements.into_iter();
    let mut vec = try_vec(elements.size_hint().0)?;
    for element in elements {
        try_push(&mut vec, element)?;
    }
    Ok(vec)
}

/// A copy.
pub fn try_copy<T: Copy>(elements: &[T]) -> Result<Vec<T>, OutOfMemory> {
    let mut copy = try_vec(elements.len())?;
    copy.extend_from_slice(elements);
    Ok(copy)
}

/// A copy of a text.
pub fn try_text(text: &str) -> Result<String, OutOfMemory> {
    let mut copy = String::new();
    copy.try_reserve_exact(text.len())
        .map_err(|_| out_of::<u8>(text.len()))?;
    copy.push_str(text);
    Ok(copy)
}

/// Adds a text at the end of another.
pub fn try_push_str(text: &mut String, more: &str) -> Result<(), OutOfMemory> {
    let length = text.len().saturating_add(more.len());
    text.try_reserve(more.len())
        .map_err(|_| out_of::<u8>(length))?;
    text.push_str(more);
    Ok(())
}
