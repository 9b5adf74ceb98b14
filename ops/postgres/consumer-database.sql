-- The reference Consumer's own database; run once by the postgres image when its volume is empty.
CREATE DATABASE consumer;
