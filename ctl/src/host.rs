//! This host itself: twillctl becomes twilld for it.

use std::ffi::OsString;

use crate::failure::Failure;
use crate::report::Report;
use crate::twilld;

/// Returns only when there is no twilld to become.
pub(crate) fn cleanup(options: &[OsString]) -> Result<Report, Failure> {
    Err(twilld::become_it("cleanup", options))
}
