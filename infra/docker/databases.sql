-- Runs once, when PostgreSQL's volume is empty: one owner, and a database each for Headgate and for Prefect.
\getenv password POSTGRES_PASSWORD

create role headgate login password :'password';
create database headgate owner headgate;
create database prefect owner headgate;
-- PostgreSQL looks into a schema of the role's own name first, and so is the ledger's: tables of pipelines are not to be there.
alter role headgate set search_path to public;

-- Nobody comes in as superuser over the network; inside the container it is: psql -U postgres
alter role postgres password null;
