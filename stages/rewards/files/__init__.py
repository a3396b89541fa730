"""`r1 rewards score`: files of rows enter, a line for each row leaves."""
