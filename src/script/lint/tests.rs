//! Warnings, one kind a test.
