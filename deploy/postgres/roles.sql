-- Runs once, when the container is first started: roles that own nothing. 'courante migrate' grants them what they need.
\getenv append_password APPEND_PASSWORD
\getenv read_password READ_PASSWORD
CREATE ROLE courante_append LOGIN PASSWORD :'append_password';
CREATE ROLE courante_read LOGIN PASSWORD :'read_password';
