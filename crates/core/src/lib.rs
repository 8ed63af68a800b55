//! Rows, the tape that trains, seeded random numbers, exact derivatives.
