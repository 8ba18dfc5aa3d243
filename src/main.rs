//! Arguments → command → exit code. All of it is in the library, where tests reach it.

fn main() -> std::process::ExitCode {
    rsp::cli::main()
}
