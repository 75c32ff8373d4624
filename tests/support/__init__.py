"""What tests of every kind stand on: real servers, databases and topics of their own, and patience."""
