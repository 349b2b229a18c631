"""What tests share: real servers, brokers, browsers, clients and processes."""
