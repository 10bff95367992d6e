-- A job goes when the user goes whose job it is. Apart from 0003, which knows no product.
alter table public.background_jobs
    add constraint background_jobs_user_id_fkey foreign key (user_id) references public.users on delete cascade;
