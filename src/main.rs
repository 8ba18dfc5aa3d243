fn main() {
    println!("rsp: being written");
}
